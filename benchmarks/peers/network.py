"""The network of every peer: ONNX Runtime on the CPU. The peers do not import cnnzoo."""

import io
import os

import numpy as np
import onnxruntime as ort
from PIL import Image


class Network:
    """Function from images, uint8 [N, C, H, W], to probabilities, float32 [N, classes].

    Args:
        threads: of one call; 0 for all cores, divided among the workers. A server that runs several calls at once
            takes one thread, a server that runs one call at a time takes all.
        model: path of the ONNX file (default: MODEL in the environment).
    """

    def __init__(self, threads: int = 0, model: str | None = None) -> None:
        workers = int(os.environ.get("WORKERS", 1))
        if threads == 0 and workers > 1:
            threads = max(1, (os.cpu_count() or 1) // workers)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(model or os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": images})[0]


def pixels(source: bytes | Image.Image) -> np.ndarray:
    """Decode an image that already has the network's size into uint8 [1, C, H, W]."""
    image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
    values = np.asarray(image)
    return (values[None] if values.ndim == 2 else values.transpose(2, 0, 1))[None]
