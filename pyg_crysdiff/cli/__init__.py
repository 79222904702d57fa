"""The command ``crysdiff``."""

from pyg_crysdiff.cli.command import main

__all__ = ["main"]
