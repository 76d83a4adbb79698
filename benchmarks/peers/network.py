"""The network as every peer runs it: ONNX Runtime on the CPU. Nothing here imports cnnzoo."""

import io
import os

import numpy as np
import onnxruntime as ort
from PIL import Image


class Network:
    """Probabilities float32 [N, classes] of images uint8 [N, C, H, W].

    Args:
        threads: that one call uses; 0 is ONNX Runtime's own choice, every core, shared out among the workers. A server
            that runs several calls at once gives each one thread; one that runs a call at a time gives it all.
            THREADS in the environment overrules it.
        model: the ONNX file; the environment says which.
    """

    def __init__(self, threads: int = 0, model: str | None = None) -> None:
        threads, workers = int(os.environ.get("THREADS", threads)), int(os.environ.get("WORKERS", 1))
        if threads == 0 and workers > 1:
            threads = max(1, (os.cpu_count() or 1) // workers)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(model or os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.shape = tuple(self.session.get_inputs()[0].shape[1:])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": images})[0]


def pixels(picture: bytes | Image.Image) -> np.ndarray:
    """A picture that already has the network's size, as uint8 [1, C, H, W]."""
    image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    values = np.asarray(image)
    return (values[None] if values.ndim == 2 else values.transpose(2, 0, 1))[None]
