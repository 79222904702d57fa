"""What the machine is good at, number formats and memory, and where things are kept on it."""

from __future__ import annotations

import ctypes
import logging
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KINDS = ("cpu", "cuda", "gpu", "mps")


def cache_folder() -> Path:
    """Return the cache folder: ``$CRYSDIFF_CACHE``, else ``pyg_crysdiff`` in the user's cache.

    Where the latter cannot be written to, a temporary folder takes its place, which is said once.

    Raises:
        ValueError: If ``$CRYSDIFF_CACHE`` is set and cannot be written to.
    """
    if own := os.environ.get("CRYSDIFF_CACHE"):
        if (problem := _unwritable(Path(own))) is not None:
            raise ValueError(
                f"CRYSDIFF_CACHE is {own}, which cannot be written to ({problem}); let it name "
                "another folder"
            )
        return Path(own)
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return _temporary_cache(Path("~/.cache"))
    folder = usual / "pyg_crysdiff"
    return folder if _unwritable(folder) is None else _temporary_cache(folder)


@cache
def _unwritable(folder: Path) -> str | None:
    """Say why no file can be made in a folder, which is made if need be; None where one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


@cache
def _temporary_cache(instead_of: Path) -> Path:
    """Return a cache folder of this user alone among the temporary files; code is kept in it."""
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"pyg_crysdiff-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        private = stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077
        own = user is not None and private and facts.st_uid == user
    except OSError:
        own = False
    if not own:
        folder = Path(tempfile.mkdtemp(prefix="pyg_crysdiff-"))
    log.warning(
        "the cache folder %s cannot be written to; %s takes its place. Set CRYSDIFF_CACHE to a "
        "folder that lasts.", instead_of, folder,
    )  # fmt: skip
    return folder


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
    """Resolve the name of a device; ``auto`` or None to CUDA, MPS or CPU, in this order.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` (or ``gpu``), ``cuda:1``, ``mps``.

    Raises:
        ValueError: If there is no such device.
    """
    name = "auto" if device is None else str(device).strip().lower()
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    if kind not in _KINDS or (colon and not (index.isascii() and index.isdigit())):
        raise ValueError(f"unknown device {str(device)!r}: auto, cpu, cuda, cuda:1 or mps")
    kind = "cuda" if kind == "gpu" else kind
    if kind == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    else:
        there = int(kind == "cpu" or torch.backends.mps.is_available())
    if int(index or 0) >= there:
        has = f"{there}, the first is {kind}:0" if there else "none"
        raise ValueError(
            f"no device {str(device)!r}: this machine has {has} of the kind {kind}; choose "
            "another, or auto"
        )
    return torch.device(kind, int(index)) if colon and kind == "cuda" else torch.device(kind)


def choose_devices(devices: object, device: torch.device) -> int | list[int]:
    """Return what Lightning's Trainer takes: a number of processes, or the numbers of the GPUs.

    Args:
        devices: A number; ``auto`` or -1 for all GPUs (one process on another device); a list of
            numbers of GPUs; any of these as text.
        device: Device of the run; ``cuda:1`` stands for this one GPU.

    Raises:
        ValueError: If there are not so many devices, or it is nothing of this kind.
    """
    there = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    try:
        wanted = _parsed(devices)
    except ValueError:
        wanted = 0  # refused below
    wanted = there if wanted == -1 else wanted
    if isinstance(wanted, list):
        known = device.type == "cuda" and device.index is None and set(wanted) <= set(range(there))
        fits = known and 0 < len(wanted) == len(set(wanted))
    else:
        fits = wanted > 0 and (device.type == "cpu" or wanted <= there)
    if not fits:
        most = "" if device.type == "cpu" else f" up to {there}"
        gpus = f", or a list of GPUs from 0 to {there - 1}" if device.type == "cuda" else ""
        raise ValueError(
            f"devices={devices} does not fit device={device}: give auto, a number of processes"
            f"{most}{gpus}"
        )
    if isinstance(wanted, list) or device.type != "cuda":
        return wanted
    return list(range(wanted)) if device.index is None else [device.index]


def _parsed(devices: object) -> int | list[int]:
    """Read a number of devices, or their numbers; -1 stands for all."""
    if devices == "auto":
        return -1
    if isinstance(devices, str) and "," in devices:
        devices = devices.strip("[] ").split(",")
    if isinstance(devices, list | tuple):
        return [int(str(number)) for number in devices]
    return int(str(devices))


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the processor on a device, without waiting for the device.

    An ordinary copy to a GPU first waits for all that the GPU has still to do. A copy from pinned
    memory takes its turn behind it. A tensor that is there already is returned as it is.
    """
    if device.type in ("cpu", "mps") or tensor.device.type != "cpu":
        return tensor.to(device)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class DoubleTable:
    """Constants in double precision, read in the precision and on the device of the data.

    They are no buffer: those go wherever their module goes, and Apple's MPS takes no double
    precision.

    Args:
        values: Float64 tensor on the CPU.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self._copies: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def on(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return the constants; the copy is kept."""
        if (device, dtype) not in self._copies:
            with torch.inference_mode(False):  # training may read the copy that sampling made
                self._copies[device, dtype] = sent(self.values.to(dtype), device)
        return self._copies[device, dtype]


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
