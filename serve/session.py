"""ONNX Runtime: one session a model, on the GPU where that really works."""

import ctypes
import logging
from functools import cache

import numpy as np
import onnxruntime as ort

from .contract import CARD_KEY, INPUT, LOGITS, PROBABILITIES, ContractError, ModelCard

logger = logging.getLogger("cnnzoo.serve")


class Session:
    """A loaded zoo file.

    Args:
        data: the whole file. A session is made from bytes, not from a path, so that a file can
            refer to no other: external data is refused.

    Raises:
        ContractError: with the reason, for anything but a contract file.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._session = _open(data)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            reason = str(error).strip().splitlines()
            raise ContractError(f"ONNX Runtime cannot load it ({reason[0] if reason else error!r})") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise ContractError(f"it has no model card: its metadata holds no entry {CARD_KEY!r}")
        self.card = ModelCard.from_json(metadata[CARD_KEY])
        self._check_signature()
        self.provider = self._session.get_providers()[0]

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W]."""
        logits, probabilities = self._session.run([LOGITS, PROBABILITIES], {INPUT: images})
        return logits, probabilities

    def _check_signature(self) -> None:
        shape, classes = self.card.input_shape, len(self.card.classes)
        inputs = {i.name: (i.type, i.shape[1:], i.shape[0]) for i in self._session.get_inputs()}
        if list(inputs) != [INPUT]:
            raise ContractError(f"its inputs are {list(inputs)}: expected [{INPUT!r}]")
        kind, rest, batch = inputs[INPUT]
        if kind != "tensor(uint8)" or rest != list(shape):
            raise ContractError(f"its input is {kind} {rest}: its card says uint8 {list(shape)}")
        if isinstance(batch, int):
            raise ContractError(f"its batch is fixed at {batch}: expected a dynamic one")
        outputs = {o.name: (o.type, o.shape[1:]) for o in self._session.get_outputs()}
        for name in (LOGITS, PROBABILITIES):
            if outputs.get(name) != ("tensor(float)", [classes]):
                raise ContractError(f"its output {name!r} is {outputs.get(name)}: expected float32 [batch, {classes}]")


def _open(data: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and reported once, by name
    if _cuda():
        session = ort.InferenceSession(data, options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
        if session.get_providers()[0] == "CUDAExecutionProvider":
            return session
        logger.warning("CUDA is there but ONNX Runtime could not start on it: serving on the CPU")
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@cache
def _cuda() -> bool:
    """Whether ONNX Runtime was built for CUDA and the driver sees a GPU.

    Asked of the driver itself: ONNX Runtime lists CUDA on every machine its GPU build is installed on.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
            return False
    except OSError:
        return False
    ort.preload_dlls()  # CUDA and cuDNN from pip's packages, where they are not the system's
    return True
