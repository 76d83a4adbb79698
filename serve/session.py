"""ONNX Runtime: one session a model, on the GPU if it works."""

import ctypes
import logging
from functools import cache

import numpy as np
import onnxruntime as ort

from ..contract.names import INPUT, OUTPUTS, ContractError

logger = logging.getLogger("cnnzoo.serve")

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class WrongRows(ContractError):
    """An output has not one row an image."""


class Session:
    """A zoo file in ONNX Runtime. `contract.read_model` checks its card and its tensors.

    Args:
        data: the whole file.
        threads: for one batch; 0: one a core.

    Raises:
        ContractError: ONNX Runtime cannot load the file.
    """

    def __init__(self, data: bytes, threads: int = 0) -> None:
        try:
            self._session = _open(data, threads)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            reason = str(error).strip().splitlines()
            raise ContractError(f"ONNX Runtime cannot load it ({reason[0] if reason else error!r})") from None
        there = {output.name for output in self._session.get_outputs()}
        self._outputs = [name for name in OUTPUTS if name in there]

    def run(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the outputs, in the order of `OUTPUTS`, of uint8 images [N, C, H, W]. Some files lack the last one.

        Raises WrongRows if an output has not one row an image.
        """
        outputs = tuple(self._session.run(self._outputs, {INPUT: images}))
        if any(len(output) != len(images) for output in outputs):
            raise WrongRows(f"its outputs have {[len(output) for output in outputs]} rows for {len(images)} images")
        return outputs


def provider() -> str:
    """Return the name of ONNX Runtime's execution provider that computes."""
    return CUDA if _has_gpu() and not _cuda_failed else CPU


_cuda_failed = False


def _open(data: bytes, threads: int) -> ort.InferenceSession:
    global _cuda_failed
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and logged once with the file's name
    options.intra_op_num_threads = threads
    # A thread spins from one layer to the next, and no longer: it would take the core from those that read requests.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    if provider() == CUDA:
        session = ort.InferenceSession(data, options, providers=[CUDA, CPU])
        if session.get_providers()[0] == CUDA:
            return session
        logger.warning("ONNX Runtime could not start on the GPU: serving on the CPU")
        _cuda_failed = True
    return ort.InferenceSession(data, options, providers=[CPU])


@cache
def _has_gpu() -> bool:
    """Return True if ONNX Runtime was built for CUDA and the driver sees a GPU.

    Asks the driver: ONNX Runtime lists CUDA on every machine that has its GPU build.
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
    ort.preload_dlls()  # CUDA and cuDNN from pip's packages, if the system has none
    return True
