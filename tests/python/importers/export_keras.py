"""Run as a program: exports small Keras models. TensorFlow and torch's compiler share no process.

Writes FOLDER/<model>/ (SavedModel), FOLDER/<model>.pb (frozen) and FOLDER/facts.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class Block(layers.Layer):
    """A pre-norm transformer block with causal attention."""

    def __init__(self, width: int, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm1 = layers.LayerNormalization(epsilon=1e-5, name="norm1")
        self.attention = layers.MultiHeadAttention(heads, width // heads, name="attention")
        self.norm2 = layers.LayerNormalization(epsilon=1e-5, name="norm2")
        self.up = layers.Dense(4 * width, activation="gelu", name="up")
        self.down = layers.Dense(width, name="down")

    def call(self, x: Any) -> Any:
        y = self.norm1(x)
        x = x + self.attention(y, y, use_causal_mask=True)
        return x + self.down(self.up(self.norm2(x)))


class Residual(layers.Layer):
    """x + two convolutions, each normalised over its channels."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(width, 3, padding="same", use_bias=False, name="conv1")
        self.norm1 = layers.BatchNormalization(epsilon=1e-5, name="norm1")
        self.conv2 = layers.Conv2D(width, 3, padding="same", use_bias=False, name="conv2")
        self.norm2 = layers.BatchNormalization(epsilon=1e-5, name="norm2")

    def call(self, x: Any) -> Any:
        y = keras.ops.relu(self.norm1(self.conv1(x)))
        return keras.ops.relu(x + self.norm2(self.conv2(y)))


def mlp() -> Any:
    x = inputs = keras.Input((64,))
    for i in range(3):
        x = layers.Dense(128, activation="relu", name=f"fc_{i}")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(x))


def cnn() -> Any:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.MaxPooling2D()(layers.Conv2D(32, 1)(x))
    x = layers.Conv2DTranspose(8, 2, strides=2)(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def residual() -> Any:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="stem")(inputs)
    for i in range(3):
        x = Residual(16, name=f"block_{i}")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)))


def transformer() -> Any:
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(100, 64, name="embedding")(tokens)
    for i in range(3):
        x = Block(64, 4, name=f"block_{i}")(x)
    return keras.Model(tokens, layers.Dense(100, name="head")(x))


def recurrent() -> Any:
    tokens = keras.Input((20,), dtype="int32")
    x = layers.Embedding(100, 32)(tokens)
    x = layers.LSTM(48, return_sequences=True)(x)
    return keras.Model(tokens, layers.Dense(5)(layers.GRU(24)(x)))


def embeddings() -> Any:
    user = keras.Input((1,), dtype="int64")
    dense = keras.Input((13,))
    found = layers.Flatten()(layers.Embedding(1000, 16)(user))
    x = layers.Concatenate()([found, layers.Dense(16, activation="relu")(dense)])
    return keras.Model([user, dense], layers.Dense(1, activation="sigmoid")(x))


def main(folder: Path) -> None:
    facts = {}
    for make in (mlp, cnn, residual, transformer, recurrent, embeddings):
        keras.backend.clear_session()
        model, name = make(), make.__name__
        model.export(folder / name, verbose=False)
        loaded = tf.saved_model.load(str(folder / name))  # its variables live as long as it does
        signature = loaded.signatures["serving_default"]
        for file, lower in ((f"{name}.pb", False), (f"{name}_v1.pb", True)):
            if lower and name != "recurrent":
                continue  # without loops both are the same
            frozen = convert_variables_to_constants_v2(signature, lower_control_flow=lower)
            (folder / file).write_bytes(frozen.graph.as_graph_def().SerializeToString())
        trainable = sum(int(w.numpy().size) for w in model.trainable_weights)
        facts[name] = {"parameters": model.count_params(), "trainable": trainable}
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
