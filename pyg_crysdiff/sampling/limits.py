"""Bounds of what can be asked, checked before memory is taken for it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

MAX_SAMPLES = 1_000_000
MAX_ATOMS = 10_000
# The networks here take about this much for each pair of atoms, others more.
_LEAST_BYTES_PER_PAIR = 512


def check_arguments(num_samples: int, batch_size: int | None) -> None:
    """Check the arguments of :func:`pyg_crysdiff.sampling.sample` that need no model.

    Raises:
        ValueError: If one is out of range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if num_samples > MAX_SAMPLES:
        raise ValueError(
            f"one run makes at most {MAX_SAMPLES:,} crystals, got num_samples={num_samples}; make "
            "several runs, each with a seed and an output folder of its own"
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def check_shard(shard: tuple[int, int] | None, out: str | Path | None) -> None:
    """Check a shard (k, n), which needs 0 <= k < n and an output folder.

    Raises:
        ValueError: If it lacks one of them.
    """
    if shard is not None and (out is None or not 0 <= shard[0] < shard[1]):
        raise ValueError(f"a shard (k, n) needs 0 <= k < n and an output folder, got {shard}")


def check_memory(num_atoms: int, device: torch.device) -> None:
    """Refuse a crystal whose pairs of atoms do not fit into the memory of the device.

    Raises:
        ValueError: With what it needs at least, what there is, and what would fit.
    """
    total, need = _memory(device), _LEAST_BYTES_PER_PAIR * num_atoms**2
    if total is not None and need > total:
        most = math.isqrt(total // _LEAST_BYTES_PER_PAIR)
        raise ValueError(
            f"a crystal of {num_atoms} atoms needs {need / 2**30:,.0f} GiB or more for its pairs "
            f"of atoms, and {device.type} has {total / 2**30:,.0f} GiB; ask for fewer atoms "
            f"(num_atoms, --num-atoms), at most about {most}"
        )


def _memory(device: torch.device) -> int | None:
    """Return the bytes of memory of a device; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
