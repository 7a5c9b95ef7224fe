#!/usr/bin/env python3
"""Make the bundled model anew: draw pictures of guitars, train, quantise, export, measure.

It needs TensorFlow, which edge-agent itself does not; a virtual environment of its own keeps them apart:

    python3 -m venv /tmp/train && /tmp/train/bin/pip install -e . tensorflow-cpu
    nice /tmp/train/bin/python scripts/train_finishes.py

Four steps, each of which can be asked for alone, in this order:

    render    pictures of TRAIN_SEEDS and VALIDATION_SEEDS, prepared by the package's own Preprocessor
    train     a small convolutional network on them, in float
    export    the same in int8, as a Custom Vision export: models/finishes
    evaluate  the exported bundle on TEST_SEEDS, in a worker as the daemon starts it; writes the tables
              in models/README.md. This step needs no TensorFlow.

What lies between the steps (3 GB of pictures, the float model) is kept in --work, outside the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from edge_agent.bundle.metadata import parse_metadata
from edge_agent.cameras.finishes import LABELS, TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, render
from edge_agent.clock import SystemClock
from edge_agent.images import decode_image
from edge_agent.predictions import scores_of
from edge_agent.preprocess import InputConvention, MetadataGeometry, Preprocessor
from edge_agent.runner import Runner
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.vetting import vet_bundle
from edge_agent.worker_process import WorkerSettings

ROOT = Path(__file__).resolve().parent.parent
SIDE = 224
BGR_MEANS = (104.0, 117.0, 123.0)
SIZES = ((480, 640),) * 4 + ((360, 480), (600, 800), (480, 854), (640, 480))
"""(height, width) of the pictures trained on; measured on the first."""

METADATA = {
    "CustomVision.Metadata.AdditionalModelInfo": "",
    "CustomVision.Metadata.Version": "1.2",
    "CustomVision.Postprocess.Method": "ClassificationMultiClass",
    "CustomVision.Postprocess.Yolo.Biases": "[]",
    "CustomVision.Postprocess.Yolo.NmsThreshold": "0.0",
    "CustomVision.Preprocess.CropHeight": "224",
    "CustomVision.Preprocess.CropMethod": "OneCropCenter",
    "CustomVision.Preprocess.CropWidth": "224",
    "CustomVision.Preprocess.MaxDimension": "0",
    "CustomVision.Preprocess.MaxScale": "0.0",
    "CustomVision.Preprocess.MinDimension": "0",
    "CustomVision.Preprocess.MinScale": "0.0",
    "CustomVision.Preprocess.NormalizeMean": "[0.0, 0.0, 0.0]",
    "CustomVision.Preprocess.NormalizeStd": "[1.0, 1.0, 1.0]",
    "CustomVision.Preprocess.ResizeMethod": "ByShorterSide",
    "CustomVision.Preprocess.TargetHeight": "256",
    "CustomVision.Preprocess.TargetWidth": "256",
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "Normalized_0_1",
}
GOLDEN_LABELS = ("dakota red", "fiesta red", "tobacco sunburst")

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """How much of everything; ``seed`` is that of weights and order, the pictures have their own."""

    work: Path
    bundle: Path
    readme: Path | None
    train: int
    validation: int
    test: int
    epochs: int
    calibration: int
    processes: int
    seed: int


def main() -> None:
    """Carry out the steps asked for."""
    arguments = parsed_arguments()
    plan = plan_from(arguments)
    plan.work.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[Plan], None]] = {
        "render": render_all,
        "train": train,
        "export": export,
        "evaluate": evaluate,
    }
    for name, step in steps.items():
        if name in arguments.steps:
            begun = time.monotonic()
            print(f"== {name}", flush=True)
            step(plan)
            print(f"== {name} took {time.monotonic() - begun:.0f} s", flush=True)


def parsed_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "steps",
        nargs="*",
        default=["render", "train", "export", "evaluate"],
        metavar="STEP",
        help="render, train, export, evaluate (default: all four)",
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "finishes", help="pictures and float model"
    )
    parser.add_argument("--bundle", type=Path, help="where to export to (default: models/finishes)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: two minutes, a useless model")
    parser.add_argument("--epochs", type=int, default=14, help="times over all pictures (default: 14)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that draw pictures")
    parser.add_argument("--seed", type=int, default=7, help="of weights and order (default: 7)")
    arguments = parser.parse_args()
    unknown = set(arguments.steps) - {"render", "train", "export", "evaluate"}
    if unknown:
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    return arguments


def plan_from(arguments: argparse.Namespace) -> Plan:
    """All of it, or with --quick a small part, which then leaves the repository alone."""
    work: Path = arguments.work
    if arguments.quick:
        bundle = arguments.bundle or work / "bundle"
        return Plan(work, bundle, None, 480, 120, 120, 2, 60, arguments.processes, arguments.seed)
    bundle = arguments.bundle or ROOT / "models" / "finishes"
    readme = ROOT / "models" / "README.md"
    return Plan(
        work, bundle, readme, 18_000, 1_200, 2_400, arguments.epochs, 300, arguments.processes, arguments.seed
    )


# render -------------------------------------------------------------------------------------------------


def preprocessor() -> Preprocessor:
    """What the daemon will do to a picture, read from the very metadata that is exported."""
    metadata = parse_metadata(json.dumps(METADATA).encode(), "METADATA")
    geometry = MetadataGeometry(metadata.resize_method, metadata.target, metadata.crop_method, metadata.crop)
    convention = InputConvention(geometry, "bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Preprocessor(
        convention, TensorSpec("Placeholder", (1, SIDE, SIDE, 3), "uint8", Quantization(1.0, 0))
    )


def render_all(plan: Plan) -> None:
    """Every picture once, as the network will see it."""
    for name, seeds in (
        ("train", TRAIN_SEEDS[: plan.train]),
        ("validation", VALIDATION_SEEDS[: plan.validation]),
    ):
        images = np.lib.format.open_memmap(
            plan.work / f"{name}.npy", "w+", np.uint8, (len(seeds), SIDE, SIDE, 3)
        )
        with multiprocessing.Pool(plan.processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            drawn = pool.imap(prepared, seeds, chunksize=16)
            for index, image in enumerate(track(drawn, f"{name:10}", total=len(seeds))):
                images[index] = image
        images.flush()
        np.save(plan.work / f"{name}_labels.npy", np.asarray(seeds) % len(LABELS))


def prepared(seed: int) -> Images:
    """One picture of the label whose turn it is, (224, 224, 3) B G R."""
    rng = np.random.default_rng((seed, 99))
    size = SIZES[int(rng.integers(len(SIZES)))]
    pixels, _label = render(seed, LABELS[seed % len(LABELS)], size)
    return np.asarray(preprocessor().prepare(pixels)[0], np.uint8)


def loaded(plan: Plan, name: str) -> tuple[Images, Indices]:
    """Pictures and label indices that :func:`render_all` has made."""
    images: Images = np.load(plan.work / f"{name}.npy", mmap_mode="r")
    return images, np.load(plan.work / f"{name}_labels.npy")


# train --------------------------------------------------------------------------------------------------


def network(tf: Any, classes: int) -> Any:
    """Seven 3 x 3 convolutions, three of them residual: 0.3 million weights, 54 million multiplications.

    Plain convolutions rather than separable ones: at this size they cost the Edge TPU and XNNPACK nothing,
    and train some three times faster on a CPU. The first strides by 4: what tells finishes is large.
    """
    layers = tf.keras.layers

    def convolved(x: Any, channels: int, kernel: int, stride: int) -> Any:
        x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.97)(x)

    inputs = layers.Input((SIDE, SIDE, 3))
    x = layers.ReLU(6.0)(convolved(inputs, 24, 5, 4))
    for channels in (48, 72, 112):
        x = layers.ReLU(6.0)(convolved(x, channels, 3, 2))
        x = layers.ReLU(6.0)(layers.Add()([x, convolved(x, channels, 3, 1)]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.15)(x)
    return tf.keras.Model(inputs, layers.Dense(classes)(x))


def train(plan: Plan) -> None:
    """AdamW with a cosine schedule; keeps the weights of the best validation accuracy."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(plan.seed)
    tf.config.experimental.enable_op_determinism()
    images, labels = loaded(plan, "train")
    validation = loaded(plan, "validation")
    batch = 64
    steps = len(images) // batch
    model = network(tf, len(LABELS))
    print(f"{model.count_params():,} weights, {len(images):,} pictures, {steps} steps an epoch", flush=True)
    schedule = tf.keras.optimizers.schedules.CosineDecay(
        1e-4, steps * (plan.epochs - 1), warmup_target=2.5e-3, warmup_steps=steps
    )
    optimizer = tf.keras.optimizers.AdamW(schedule, weight_decay=1e-3, clipnorm=1.0)
    best = 0.0
    means = np.asarray(BGR_MEANS, np.float32)

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]
    def step(pixels: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(tf.cast(pixels, tf.float32) - means, training=True)
            targets = tf.one_hot(wanted, len(LABELS))
            loss = tf.reduce_mean(
                tf.keras.losses.categorical_crossentropy(targets, logits, True, label_smoothing=0.03)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    for epoch in range(plan.epochs):
        rng = np.random.default_rng((plan.seed, epoch))
        batches = augmented(rng, images, labels, batch)
        losses = [
            float(step(pixels, wanted))
            for pixels, wanted in track(batches, f"epoch {epoch + 1:2}/{plan.epochs}", total=steps)
        ]
        accuracy = float_accuracy(model, *validation)
        print(f"loss {np.mean(losses):.4f}  validation {accuracy:.4f}", flush=True)
        if accuracy >= best:
            best = accuracy
            model.save_weights(plan.work / "float.weights.h5")


def augmented(
    rng: np.random.Generator, images: Images, labels: Indices, batch: int
) -> Iterator[tuple[Images, Indices]]:
    """One pass in random order; pictures mirrored and shifted, whole batches of them a little lighter."""
    order = rng.permutation(len(images))
    for start in range(0, len(order) - batch + 1, batch):
        chosen = np.sort(order[start : start + batch])
        pixels = np.array(images[chosen])
        mirrored = rng.random(batch) < 0.5
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        for index, (down, right) in enumerate(rng.integers(-14, 15, (batch, 2))):
            move = np.array([[1, 0, right], [0, 1, down]], float)
            pixels[index] = cv2.warpAffine(
                pixels[index], move, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
            )
        yield pixels, labels[chosen]


def float_accuracy(model: Any, images: Images, labels: Indices) -> float:
    """Share of right answers of the float model."""
    means = np.asarray(BGR_MEANS, np.float32)
    right = 0
    for start in range(0, len(images), 100):
        part = slice(start, start + 100)
        logits = model(images[part].astype(np.float32) - means, training=False)
        right += int(np.sum(np.argmax(logits, axis=1) == labels[part]))
    return right / len(images)


# export -------------------------------------------------------------------------------------------------


def export(plan: Plan) -> None:
    """Quantise the best weights and write the bundle."""
    import tensorflow as tf

    model = network(tf, len(LABELS))
    model.load_weights(plan.work / "float.weights.h5")
    images, labels = loaded(plan, "train")
    chosen = np.concatenate(
        [np.flatnonzero(labels == i)[: plan.calibration // len(LABELS)] for i in range(len(LABELS))]
    )
    content = quantised(tf, model, [images[index] for index in chosen])
    write_bundle(plan.bundle, content)
    write_golden(plan.bundle)
    print(f"{plan.bundle}: model.tflite of {len(content):,} bytes", flush=True)


def quantised(tf: Any, model: Any, calibration: Sequence[Images]) -> bytes:
    """The network in int8 with Custom Vision's head: raw pixels in, the means subtracted, softmax out.

    Custom Vision's own graphs multiply by 1 before that. The converter drops it; kept by force it would
    cost more than half of the whole inference (0.9 of 1.7 ms).
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    addends = tf.constant([-mean for mean in BGR_MEANS], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, "Placeholder")])  # type: ignore[untyped-decorator]
    def exported(pixels: Any) -> Any:
        return tf.nn.softmax(model(pixels + addends, training=False))

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for image in calibration:
            yield [image[None].astype(np.float32)]
        # Pins the input's range to 0..255, so that the code of a pixel is the pixel.
        ends = np.zeros((1, SIDE, SIDE, 3), np.float32)
        ends[:, ::2] = 255
        yield [ends]

    frozen = convert_variables_to_constants_v2(exported.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    # tflite-runtime 2.14 knows per-channel weights for convolutions only.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return renamed(converter.convert())


def renamed(content: bytes) -> bytes:
    """The model with Custom Vision's tensor names and without signatures."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = "Placeholder"
    graph.tensors[graph.outputs[0]].name = "model_outputs"
    model.signatureDefs = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def write_bundle(folder: Path, content: bytes) -> None:
    """The files of a Custom Vision export; the iteration's id follows from the model."""
    folder.mkdir(parents=True, exist_ok=True)
    sha1 = hashlib.sha1(content).hexdigest()
    manifest = {
        "DomainType": "Classification",
        "Platform": "TensorFlow",
        "Flavor": "TensorFlowLite",
        "ExporterVersion": "2.0",
        "ExportedDate": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
        "IterationId": str(uuid.uuid5(uuid.NAMESPACE_OID, sha1)),
        "ModelFileName": "model.tflite",
        "LabelFileName": "labels.txt",
        "MetadataPropsFileName": "metadata_properties.json",
        "ModelFileSHA1": sha1,
        "SchemaVersion": "1.0",
    }
    (folder / "model.tflite").write_bytes(content)
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    (folder / "cvexport.manifest").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (folder / "metadata_properties.json").write_text(json.dumps(METADATA, indent=4) + "\n", encoding="utf-8")
    (folder / "bundle.toml").write_text('name = "finishes"\n', encoding="utf-8")


def write_golden(folder: Path) -> None:
    """For each golden label the first of 200 validation pictures that is answered with 0.9 or more."""
    shutil.rmtree(folder / "golden", ignore_errors=True)
    (folder / "golden").mkdir()
    settings = ['name = "finishes"\n']
    with Answers(folder) as answers:
        for label in GOLDEN_LABELS:
            for seed in VALIDATION_SEEDS[:200]:
                pixels, _ = render(seed, label, (360, 480))
                encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
                score = float(answers.scores(decode_image(encoded, label))[LABELS.index(label)])
                if score >= 0.9 and len(encoded) < 30_000:
                    name = f"golden/{label.replace(' ', '-')}.jpg"
                    (folder / name).write_bytes(encoded)
                    settings.append(
                        f'\n[[golden]]\nimage = "{name}"\nlabel = "{label}"\nmin_score = {score - 0.2:.2f}\n'
                    )
                    break
            else:
                print(f"no golden image of {label}: the model is not sure of any", flush=True)
    (folder / "bundle.toml").write_text("".join(settings), encoding="utf-8")


# evaluate -----------------------------------------------------------------------------------------------


class Answers:
    """The exported bundle in a worker, as the daemon serves it."""

    def __init__(self, bundle: Path) -> None:
        settings = WorkerSettings(threads=1)
        self.vetted = vet_bundle(bundle, settings, SystemClock())
        self._preprocessor = Preprocessor(self.vetted.bundle.convention, self.vetted.bundle.input)
        self._runner = Runner({"finishes": self.vetted.for_cpu()}, settings, SystemClock())
        self.inference_ms: list[float] = []

    def __enter__(self) -> Answers:
        self._runner.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.retire()

    def scores(self, pixels: Images) -> npt.NDArray[np.float32]:
        """One score per label."""
        answer = self._runner.run("finishes", self._preprocessor.prepare(pixels), timeout_s=10.0)
        self.inference_ms.append(answer.inference_ms)
        return scores_of(answer.output, self.vetted.bundle.output)


def evaluate(plan: Plan) -> None:
    """Held-out pictures at 640 x 480 through the whole path; the float model beside it where it is there."""
    seeds = TEST_SEEDS[: plan.test]
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    tensors: list[Images] = []
    prepare = preprocessor()
    sure: list[float] = []
    with Answers(plan.bundle) as answers:
        for seed in track(seeds, "test"):
            pixels, label = render(seed, LABELS[seed % len(LABELS)])
            scores = answers.scores(pixels)
            confusion[LABELS.index(label), int(np.argmax(scores))] += 1
            sure.append(float(scores.max()))
            tensors.append(np.asarray(prepare.prepare(pixels)[0], np.uint8))
    report = tables(plan, confusion, answers, sure, float_test_accuracy(plan, np.stack(tensors)))
    print(report)
    if plan.readme is not None:
        insert(plan.readme, report)


def float_test_accuracy(plan: Plan, images: Images) -> float | None:
    """The float model on the same tensors; None where there is no TensorFlow or no float model."""
    weights = plan.work / "float.weights.h5"
    try:
        import tensorflow as tf
    except ImportError:
        return None
    if not weights.exists():
        return None
    model = network(tf, len(LABELS))
    model.load_weights(weights)
    return float_accuracy(model, images, np.asarray(TEST_SEEDS[: len(images)]) % len(LABELS))


def tables(
    plan: Plan,
    confusion: npt.NDArray[np.int_],
    answers: Answers,
    sure: list[float],
    float_share: float | None,
) -> str:
    """The figures as Markdown."""
    total, right = int(confusion.sum()), int(np.trace(confusion))
    model_bytes = (plan.bundle / "model.tflite").stat().st_size
    lines = [
        f"int8: {right} of {total} right, {right / total:.2%}"
        + ("" if float_share is None else f"; float, on the same pictures: {float_share:.2%}")
        + f". Median of the best score: {np.median(sure):.2f}.",
        f"`model.tflite`: {model_bytes:,} bytes. `invoke()` on one {platform.machine()} thread: "
        f"{np.median(answers.inference_ms):.1f} ms ({answers.vetted.runtime}).",
        "",
        "| label | pictures | precision | recall |",
        "|---|---:|---:|---:|",
    ]
    for index, label in enumerate(LABELS):
        hit, said, were = confusion[index, index], confusion[:, index].sum(), confusion[index].sum()
        lines.append(f"| {label} | {were} | {hit / max(1, said):.3f} | {hit / max(1, were):.3f} |")
    wrong = [
        (int(confusion[i, j]), LABELS[i], LABELS[j])
        for i, j in zip(*np.nonzero(confusion), strict=True)
        if i != j
    ]
    lines += ["", "Most often confused:", "", "| is | was taken for | times |", "|---|---|---:|"]
    lines += [f"| {was} | {taken} | {times} |" for times, was, taken in sorted(wrong, reverse=True)[:8]]
    return "\n".join(lines)


def insert(readme: Path, report: str) -> None:
    """Put the figures between the markers."""
    text = readme.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- figures -->\n")
    _, _, tail = rest.partition("<!-- end of figures -->")
    readme.write_text(f"{head}<!-- figures -->\n{report}\n<!-- end of figures -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
