"""What the machine is good at, number formats and memory, and where things are kept on it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def cache_folder() -> Path:
    """Return the cache folder: ``$CRYSDIFF_CACHE``, else ``pyg_crysdiff`` in the user's cache."""
    if own := os.environ.get("CRYSDIFF_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyg_crysdiff"


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve ``auto`` to ``bf16-mixed`` where hardware multiplies bf16 faster, else ``32-true``.

    Args:
        precision: ``auto``, or a Lightning precision, which is returned as it is.
        device: Device of the run.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        fast = device.type == "cpu" and supported is not None and bool(supported())
    return "bf16-mixed" if fast else "32-true"


def choose_device(device: str | torch.device | None) -> torch.device:
    """Resolve ``auto`` or None to CUDA, MPS or CPU, in this order.

    Raises:
        ValueError: If a CUDA or MPS device is asked for and there is none.
    """
    name = str(device) if device is not None else "auto"
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    chosen = torch.device(name)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but this machine has no CUDA device")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {name!r} was asked for, but this machine has no MPS device")
    return chosen


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of returning them to the system at once.

    Every step allocates the same large tensors; by default each is mapped and unmapped anew,
    and the page faults cost as much as the arithmetic. Does nothing on other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):
        return
