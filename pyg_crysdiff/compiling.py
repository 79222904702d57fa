"""Compile and load small C libraries of this package; nothing needs them, all have plain forms."""

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
from collections.abc import Callable, Sequence
from pathlib import Path

from pyg_crysdiff.platform import cache_folder

log = logging.getLogger(__name__)


def kernels_wanted() -> bool:
    """Whether kernels may take the place of the plain forms: ``CRYSDIFF_NATIVE`` is not 0."""
    return os.environ.get("CRYSDIFF_NATIVE", "1") != "0"


def compile_library(sources: Sequence[Path], flags: Sequence[str]) -> ctypes.CDLL | None:
    """Return a compiled library, or None where it cannot be had.

    The compiler is ``$CC``, else ``cc``, ``gcc`` or ``clang``. The library's name carries a digest
    of the sources, the flags, the compiler and the processor, so that a cache folder shared by
    different machines never serves the wrong one.

    Args:
        sources: The file to compile, and those that it includes.
        flags: Flags of the compiler; ``-fPIC`` and ``-shared`` are added.
    """
    if not kernels_wanted():
        return None
    wanted = [os.environ.get("CC", "cc"), "gcc", "clang"]
    compiler = next((found for name in wanted if (found := shutil.which(name))), None)
    if compiler is None:
        log.info("no C compiler: %s is not used", sources[0].name)
        return None
    try:
        return _build(compiler, sources, [*flags, "-fPIC", "-shared"])
    except (OSError, subprocess.SubprocessError) as error:
        log.info("%s cannot be compiled (%s): it is not used", sources[0].name, error)
        return None


def kernel_is_right(
    library: ctypes.CDLL | None, agrees: Callable[[], bool], what: str, other: str
) -> bool:
    """Return whether there is a library that agrees with what it replaces; warn if it does not.

    Args:
        library: From :func:`compile_library`.
        agrees: Compares a few results of both.
        what: What the kernel is for.
        other: What it is compared with.
    """
    if library is None:
        return False
    if not agrees():
        log.warning("the C kernel for %s disagrees with %s and is not used", what, other)
        return False
    return True


def _build(compiler: str, sources: Sequence[Path], flags: Sequence[str]) -> ctypes.CDLL:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True)
    digest.update(version.stdout + " ".join(flags).encode() + processor().encode())
    target = cache_folder() / "native" / f"{digest.hexdigest()[:24]}.so"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may compile at once: each under a name of its own, then renamed.
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            made = Path(work) / "kernels.so"
            command = [compiler, *flags, str(sources[0]), "-o", str(made), "-lm"]
            subprocess.run(command, capture_output=True, timeout=300, check=True)
            made.replace(target)
    return ctypes.CDLL(str(target))


@functools.cache
def processor() -> str:
    """Return what ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return " ".join([platform.machine(), *kept[:2]])
