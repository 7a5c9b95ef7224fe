"""What conversions are tried on: small networks of Keras, made in a child that ends with its TensorFlow."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge_agent.workbench.measure import this_python

need_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None or find_spec("ai_edge_quantizer") is None,
    reason="no TensorFlow: pip install ai-edge-quantizer tensorflow",
)

_MAKE = """\
import sys, tensorflow
layers, folder = tensorflow.keras.layers, sys.argv[1]

def network(middle, side=32, channels=3):
    tensorflow.keras.utils.set_random_seed(3)
    picture = tensorflow.keras.Input((side, side, channels), name="picture")
    x = layers.Rescaling(1 / 127.5, offset=-1)(picture)
    x = middle(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(x))
    return tensorflow.keras.Model(picture, layers.Dense(2, activation="softmax")(layers.Dropout(0.2)(x)))

plain = network(layers.ReLU())
plain.compile("adam", "sparse_categorical_crossentropy")
plain.save(f"{folder}/plain.keras")
plain.save(f"{folder}/plain.h5")
plain.export(f"{folder}/saved")
network(layers.LeakyReLU()).save(f"{folder}/leaky.keras")
network(layers.ReLU(), channels=1).save(f"{folder}/grey.keras")
network(layers.ReLU(), side=None).save(f"{folder}/any_size.keras")
"""


def make_networks(folder: Path) -> None:
    """plain.keras, plain.h5, saved/, leaky.keras, grey.keras, any_size.keras: two labels, 32 x 32 pixels."""
    command = [*this_python(), "-c", _MAKE, str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert 0 == made.returncode, made.stderr[-2000:]
