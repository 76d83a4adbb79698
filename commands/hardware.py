"""What the machine can do."""

import os
from pathlib import Path

import torch


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor as its maker calls it, and how many cores of it this process may use."""
    count = cores()
    return f"{count} core{'s' if count > 1 else ''}, {_cpuinfo('model name') or 'unknown processor'}"


def precision(wanted: str | None, accelerator: str | None) -> str | None:
    """bf16-mixed where the accelerator computes it in hardware, float32 in its place elsewhere; else as wanted.

    Args:
        accelerator: the Trainer's: cpu, cuda, gpu, mps, or auto.
    """
    return "32-true" if wanted == "bf16-mixed" and not has_bfloat16(_device(accelerator)) else wanted


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is computed in hardware, so that it is faster than float32 and not slower.

    Args:
        device: cpu or cuda; any other kind is taken to have it not.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return device == "cpu" and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def _device(accelerator: str | None) -> str:
    if accelerator in ("cpu", "cuda"):
        return accelerator
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found else "cpu"


def keep_threads() -> None:
    """As many threads in every step. By default MKL may take fewer, and then the same sums round otherwise: its
    Reproducibility Conditions ask for a constant number (MKL_DYNAMIC), which PyTorch sees to only when it is set."""
    torch.set_num_threads(torch.get_num_threads())


def _cpuinfo(field: str) -> str:
    """A field of Linux' description of the first core; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == field), "")
