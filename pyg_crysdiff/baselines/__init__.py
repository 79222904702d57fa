"""Other methods: their published numbers."""

from pyg_crysdiff.baselines.published import published_rows

__all__ = ["published_rows"]
