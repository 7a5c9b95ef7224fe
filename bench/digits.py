"""What each step costs a small network of digits: Keras, float32 TensorFlow Lite, int8.

    python bench/digits.py

Two 3x3 convolutions of 32, a dense layer of 128 and one of 10, on 32x32x1: trained on scikit-learn's digits
(1,797 of 8x8, enlarged), two thirds of them; accuracy is over the last third. Needs the extra `convert` and
scikit-learn. It goes through the stages of `edge-agent convert`, which itself takes colour pictures only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2

from edge_agent.clock import SystemClock
from edge_agent.runner import Runner
from edge_agent.sealed import SealedFile
from edge_agent.tensors import Array
from edge_agent.workbench.convert.recipe import Scheme
from edge_agent.workbench.convert.source import read_source
from edge_agent.workbench.convert.stages import float_model, quantised
from edge_agent.worker_process import WorkerSettings

SIDE = 32
TIMEOUT_S = 30.0


def main() -> None:
    """Train, convert, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calibrate", type=int, default=200, help="pictures")
    options = parser.parse_args()
    pictures, digits = data(options.seed)
    split = len(pictures) * 2 // 3
    test, truth = pictures[split:], digits[split:]
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder, "digits.keras")
        accuracy = train(trained, pictures[:split], digits[:split], test, truth, options)
        rows = [("Keras, as trained", trained.stat().st_size, accuracy)]
        content, _ = float_model(read_source(trained), Path(folder))
        schemes: tuple[Scheme, ...] = ("float32", "float16", "dynamic", "int8")
        for scheme in schemes:
            feed = (picture.tobytes() for picture in pictures[: options.calibrate])
            model, _ = quantised(content, scheme, "uint8", feed, (0.0, 1.0), Path(folder))
            rows.append((f"TensorFlow Lite, {scheme}", len(model), accuracy_of(model, test, truth)))
    smallest = rows[-1][1]
    print("| model | bytes | to int8 | accuracy | lost, points |\n|---|--:|--:|--:|--:|")
    for name, size, share in rows:
        print(f"| {name} | {size:,} | {size / smallest:.2f} | {share:.2%} | {(accuracy - share) * 100:.2f} |")


def data(seed: int) -> tuple[Array, Array]:
    """Pictures (n, 1, 32, 32, 1) of float32 0..1 and their digits, shuffled."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    enlarged = [
        cv2.resize(image / 16, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for image in digits.images
    ]
    pictures = np.stack(enlarged).astype(np.float32).reshape(-1, 1, SIDE, SIDE, 1)
    return pictures[order], digits.target[order]


def train(place: Path, pictures: Array, digits: Array, test: Array, truth: Array, options: Any) -> float:
    """Train and save with the optimiser's state, as Keras does; the share that is right of ``test``."""
    import tensorflow

    tensorflow.keras.utils.set_random_seed(options.seed)
    layers = tensorflow.keras.layers
    model = tensorflow.keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pictures[:, 0], digits, epochs=options.epochs, batch_size=32, verbose=0)
    model.save(place)
    return float((model.predict(test[:, 0], verbose=0).argmax(1) == truth).mean())


def accuracy_of(model: bytes, pictures: Array, truth: Array) -> float:
    """The share of the pictures that a .tflite gets right, in a worker like any other."""
    runner = Runner(
        {"digits": SealedFile(model, "digits.tflite")}, WorkerSettings(describe=True), SystemClock()
    )
    try:
        graph = runner.wait_ready().networks["digits"].graph
        assert graph is not None
        answers = [
            runner.run("digits", tensor, TIMEOUT_S).output.argmax()
            for tensor in tensors(graph.inputs[0], pictures)
        ]
    finally:
        runner.retire()
    return float((np.array(answers) == truth).mean())


def tensors(spec: Any, pictures: Array) -> Iterator[Array]:
    """The pictures as the model takes them."""
    for picture in pictures:
        if spec.quantization is None:
            yield picture
        else:
            codes = np.rint(picture / spec.quantization.scale) + spec.quantization.zero_point
            yield codes.clip(0, 255).astype(spec.dtype)


if __name__ == "__main__":
    main()
