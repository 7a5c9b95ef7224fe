"""The yardstick: OpenCV, the runtime and paho in one plain loop, as many people write it first.

It does what the agent does to a frame in memory (resize, swap red and blue, run, rank, publish with
QoS 1) and nothing else: no second process, no reconnecting, no preprocessing but Coral's. For each line
on stdin it runs a round and prints the milliseconds per frame.

    python bench/naive.py MODEL.tflite --port 1883 --threads 1 --frames 300
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import cv2
import numpy as np
import paho.mqtt.client as mqtt

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter


def main() -> None:
    """Load, connect, then a round per line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()

    interpreter = Interpreter(options.model, num_threads=options.threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    result = interpreter.get_output_details()[0]
    _, height, width, _ = source["shape"]
    scale, zero_point = result["quantization"]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", options.port)
    client.loop_start()
    frame = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)

    def one(number: int) -> mqtt.MQTTMessageInfo:
        picture = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        interpreter.set_tensor(source["index"], picture[None])
        interpreter.invoke()
        scores = (interpreter.get_tensor(result["index"])[0].astype(np.float32) - zero_point) * scale
        best = np.argsort(-scores)[:3]
        message = {
            "frame": number,
            "predictions": [{"index": int(i), "score": float(scores[i])} for i in best],
        }
        return client.publish("naive/prediction", json.dumps(message), qos=1)

    one(0).wait_for_publish()
    for _ in sys.stdin:
        start = time.perf_counter()
        for number in range(options.frames):
            last = one(number)
        last.wait_for_publish()
        print((time.perf_counter() - start) / options.frames * 1e3, flush=True)
    client.loop_stop()


if __name__ == "__main__":
    main()
