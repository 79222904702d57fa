"""The command ``crysdiff``."""

from pyg_crysdiff.cli.main import main

__all__ = ["main"]
