"""The benchmark: train, generate towards a property, score, compare."""

from typing import TYPE_CHECKING, Any

from pyg_crysdiff.benchmark.command import main

if TYPE_CHECKING:
    from pyg_crysdiff.benchmark.settings import Settings

__all__ = ["Settings", "main"]


def __getattr__(name: str) -> Any:
    # Its imports take seconds; the command line starts, and can be stopped, without them.
    if name == "Settings":
        from pyg_crysdiff.benchmark.settings import Settings  # noqa: PLC0415

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
