"""BentoML with its adaptive batching."""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from network import Network


@bentoml.service(workers=int(os.environ["WORKERS"]), logging={"access": {"enabled": False}})
class Service:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True)
    def tensor(self, images: Annotated[np.ndarray, DType("uint8")]) -> np.ndarray:
        return self.network(images)
