"""The lecture's Keras networks, for `benchmarks/training.py --keras`: seconds for an epoch over given images.

    python keras_networks.py digits|cifar10 images.npz      (where tensorflow is installed)

Written after the lecture's code; the learning rate of the digits network is one of its grid's.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, regularizers


def digits() -> keras.Model:
    penalty = regularizers.l2(1e-3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(10, 3, padding="same", activation="relu", kernel_regularizer=penalty),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(50, activation="relu", kernel_regularizer=penalty),
            layers.Dense(10, activation="softmax", kernel_regularizer=penalty),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def cifar10() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def main() -> None:
    name, path = sys.argv[1:]
    data = np.load(path)
    if name == "digits":
        model, batch = digits(), 100
        x, y = data["images"] / 16, np.eye(10)[data["labels"]]
    else:
        model, batch = cifar10(), 32
        x, y = data["images"] / 255, data["labels"]
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0)  # traces the graph
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
