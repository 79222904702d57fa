"""The benchmark: train, generate towards a property, score, compare."""

from pyg_crysdiff.benchmark.settings import Settings

__all__ = ["Settings"]
