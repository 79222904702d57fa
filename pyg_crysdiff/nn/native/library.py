"""Compile and load the C kernels of this folder."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from pyg_crysdiff.compiling import compile_library, kernels_wanted, processor

__all__ = ["kernels_wanted", "load_library"]

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
)
_WIDE = "-mprefer-vector-width=512"


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where they cannot be had."""
    flags = [*_FLAGS, _WIDE] if "avx512f" in processor() else list(_FLAGS)
    return compile_library([Path(__file__).parent / name for name in _SOURCES], flags)
