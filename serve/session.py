"""ONNX Runtime: one session a model, on the GPU where that really works."""

import ctypes
import logging
from functools import cache

import numpy as np
import onnxruntime as ort

from ..contract.card import ModelCard
from ..contract.names import CARD_KEY, INPUT, LOGITS, PROBABILITIES, ContractError

logger = logging.getLogger("cnnzoo.serve")

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """A loaded zoo file.

    Args:
        data: the whole file. A session is made from bytes, not from a path, so that a file can
            refer to no other: external data is refused.
        threads: that compute one batch; 0: one a core.
        max_batch: images that the network is given at once; more are cut up, which bounds the memory.

    Raises:
        ContractError: with the reason, for anything but a contract file.
    """

    def __init__(self, data: bytes, threads: int = 0, max_batch: int = 64) -> None:
        try:
            self._session = _open(data, threads)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            reason = str(error).strip().splitlines()
            raise ContractError(f"ONNX Runtime cannot load it ({reason[0] if reason else error!r})") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise ContractError(f"it has no model card: its metadata holds no entry {CARD_KEY!r}")
        self.card = ModelCard.from_json(metadata[CARD_KEY])
        self._check_signature()
        self._max_batch = max_batch

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W]."""
        parts = [self._run(images[i : i + self._max_batch]) for i in range(0, len(images), self._max_batch)]
        if len(parts) == 1:
            return parts[0]
        logits, probabilities = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(probabilities)

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def provider() -> str:
    """What networks run on: the name of ONNX Runtime's execution provider."""
    return CUDA if _cuda() and not _cuda_failed else CPU


_cuda_failed = False


def _open(data: bytes, threads: int) -> ort.InferenceSession:
    global _cuda_failed
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and reported once, by name
    options.intra_op_num_threads = threads
    # Threads that spin while they wait for work take the cores from the threads that read requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider() == CUDA:
        session = ort.InferenceSession(data, options, providers=[CUDA, CPU])
        if session.get_providers()[0] == CUDA:
            return session
        logger.warning("CUDA is there but ONNX Runtime could not start on it: serving on the CPU")
        _cuda_failed = True
    return ort.InferenceSession(data, options, providers=[CPU])


@cache
def _cuda() -> bool:
    """Whether ONNX Runtime was built for CUDA and the driver sees a GPU.

    Asked of the driver itself: ONNX Runtime lists CUDA on every machine its GPU build is installed on.
    """
    if CUDA not in ort.get_available_providers():
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
