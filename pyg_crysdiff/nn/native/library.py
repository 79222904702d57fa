"""Compile and load the C kernels of this folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from pyg_crysdiff.platform import cache_folder

log = logging.getLogger(__name__)
_SOURCES = ("pair_attention.c", "pair_attention.inc")
# What lets a compiler vectorise sums and exponentials. Not -ffast-math: NaN must stay NaN, and it
# would switch off denormal numbers for the whole process when the library is loaded.
_FLAGS = (
    "-std=c11",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-ffp-contract=fast",  # -std=c11 alone forbids fused multiplications and additions
    "-fno-signed-zeros",
    "-freciprocal-math",
    "-fPIC",
    "-shared",
)
_WIDE = "-mprefer-vector-width=512"


def kernels_wanted() -> bool:
    """Whether kernels may take the place of the plain forms: ``CRYSDIFF_NATIVE`` is not 0."""
    return os.environ.get("CRYSDIFF_NATIVE", "1") != "0"


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had.

    The compiler is ``$CC``, else ``cc``, ``gcc`` or ``clang``. The library's name carries a digest
    of the sources, the flags, the compiler and the processor, so that a cache folder shared by
    different machines never serves the wrong one.
    """
    if not kernels_wanted():
        return None
    wanted = [os.environ.get("CC", "cc"), "gcc", "clang"]
    compiler = next((found for name in wanted if (found := shutil.which(name))), None)
    if compiler is None:
        log.info("no C compiler: the plain kernels are used")
        return None
    try:
        return _build(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("the C kernels cannot be compiled (%s): the plain ones are used", error)
        return None


def _build(compiler: str) -> ctypes.CDLL:
    folder = Path(__file__).parent
    flags = [*_FLAGS, _WIDE] if "avx512f" in _processor() else list(_FLAGS)
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((folder / name).read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True)
    digest.update(version.stdout + " ".join(flags).encode() + _processor().encode())
    target = cache_folder() / "native" / f"{digest.hexdigest()[:24]}.so"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may compile at once: each under a name of its own, then renamed.
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            made = Path(work) / "kernels.so"
            command = [compiler, *flags, str(folder / _SOURCES[0]), "-o", str(made), "-lm"]
            subprocess.run(command, capture_output=True, timeout=300, check=True)
            made.replace(target)
    return ctypes.CDLL(str(target))


@functools.cache
def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return " ".join([platform.machine(), *kept[:2]])
