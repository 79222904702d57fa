"""What the speed benchmarks share: rates, peak memory, and measurements in fresh processes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch


def rate_of(call: Callable[[int], Any], batch: int, at_least: float) -> float:
    """Return structures per second of repeated calls, after two to warm up.

    Args:
        call: What to time; it is given the number of the call.
        batch: Structures per call.
        at_least: Seconds to go on for; three calls are the least.
    """
    call(0), call(1)
    wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < at_least or count < 3:
        call(count)
        count += 1
        _keep_up(count)
    wait()
    return batch * count / (time.perf_counter() - start)


def rate_along(steps: Iterator[Any], batch: int, at_least: float) -> float:
    """Return structure steps per second of a stretch of an iterator, after two steps to warm up.

    Args:
        steps: One item for each step of a batch.
        batch: Structures in the batch.
        at_least: Seconds to go on for, unless the steps end.
    """
    next(steps), next(steps)
    wait()
    count, start = 0, time.perf_counter()
    for _ in steps:
        count += 1
        _keep_up(count)
        if time.perf_counter() - start > at_least:
            break
    wait()
    return batch * count / (time.perf_counter() - start)


def _keep_up(count: int) -> None:
    """Let a GPU lag behind as in real use, but not by more than a few calls."""
    if count % 8 == 0:
        wait()


def wait() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of large matrix products on a device in GFLOP/s."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 * rate_of(lambda _: a @ b, 1, 1.0) / 1e9


def peak_gib() -> float:
    """Return the peak resident memory of this process in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def child(side: str, *options: str) -> dict[str, Any]:
    """Run the present command once more in a new process, for one side only.

    Args:
        side: Given to the command as ``--side``.
        *options: Further words of the command line.

    Returns:
        The last line that the process prints, which is JSON.
    """
    command = [sys.executable, *sys.argv, "--side", side, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join([side, *options])} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
