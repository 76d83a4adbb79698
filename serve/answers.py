"""Answers of the service as Python objects, for the client."""

import json
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import httpx
import numpy as np

from ..contract.names import FAMILIARITY, HEADER_LENGTH, LOGITS, PROBABILITIES


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image.

    Args:
        file: the image's name.
        classes: (label, probability) pairs, the most probable first; empty if the image failed to decode.
        error: why the image failed to decode, or None.
        familiarity: share of held-out images that look stranger to the network, 0-1; None if the file has none, and for
            an image that failed to decode.
        unfamiliar: whether that is below `min_familiarity`; None without a familiarity.
    """

    file: str
    classes: tuple[tuple[str, float], ...]
    error: str | None = None
    familiarity: float | None = None
    unfamiliar: bool | None = None

    @property
    def label(self) -> str:
        """The most probable class. Raises ValueError if the image failed to decode."""
        if not self.classes:
            raise ValueError(f"{self.file}: {self.error}")
        return self.classes[0][0]


class Outputs(NamedTuple):
    """A network's outputs, float32: [N, classes] each, and familiarity [N] or None if the file has none."""

    logits: np.ndarray
    probabilities: np.ndarray
    familiarity: np.ndarray | None = None


def read_predictions(response: httpx.Response) -> list[Prediction]:
    """Return the predictions in an answer of /v1/models/{m}/predict."""
    return [_prediction(entry) for entry in response.json()["predictions"]]


def _prediction(entry: dict[str, Any]) -> Prediction:
    classes = tuple((row["label"], row["probability"]) for row in entry.get("classes", ()))
    familiarity, unfamiliar = entry.get("familiarity"), entry.get("unfamiliar")
    return Prediction(entry["file"], classes, entry.get("error"), familiarity, unfamiliar)


def read_values(response: httpx.Response) -> dict[str, np.ndarray]:
    """Return the layers' values in a binary answer of /v1/models/{m}/inspect, float32 [depth, height, width]."""
    start = int(response.headers[HEADER_LENGTH])
    values = {}
    for layer in json.loads(response.content[:start])["layers"]:
        end = start + 4 * prod(layer["volume"])
        values[layer["name"]] = np.frombuffer(response.content[start:end], "<f4").reshape(layer["volume"])
        start = end
    return values


def read_drops(response: httpx.Response) -> np.ndarray:
    """Return the drops in an answer of /v1/models/{m}/explain, float32 [rows, columns]."""
    return np.array(response.json()["drops"], np.float32)


def read_outputs(response: httpx.Response) -> Outputs:
    """Return the outputs in a binary answer of /v2/models/{m}/infer."""
    start = int(response.headers[HEADER_LENGTH])
    arrays = {}
    for output in json.loads(response.content[:start])["outputs"]:
        end = start + output["parameters"]["binary_data_size"]
        arrays[output["name"]] = np.frombuffer(response.content[start:end], "<f4").reshape(output["shape"])
        start = end
    return Outputs(arrays[LOGITS], arrays[PROBABILITIES], arrays.get(FAMILIARITY))
