"""BentoML as in its quickstart: an array in, an array out, one call at a time.

`pip install bentoml` brings neither uvloop nor httptools, so uvicorn runs here without them.
"""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from network import Network, pixels
from PIL import Image


@bentoml.service(workers=int(os.environ["WORKERS"]), logging={"access": {"enabled": False}})
class Service:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api
    def tensor(self, images: Annotated[np.ndarray, DType("uint8")]) -> np.ndarray:
        return self.network(images)

    @bentoml.api
    def image(self, image: Image.Image) -> np.ndarray:
        return self.network(pixels(image))
