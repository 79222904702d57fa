"""Names of the rows of a benchmark, which also name its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyg_crysdiff.baselines import load_baseline
from pyg_crysdiff.storage import file_name

if TYPE_CHECKING:
    from pyg_crysdiff.benchmark.settings import Settings

# What the benchmark adds to the name of a model for further rows of it.
_DERIVED = ("unconditional", "symmetrised", "best of ", "candidates", "guidance ")


def file_stem(method: str) -> str:
    """Return the name of a row's files: of "cds, best of 3" it is "cds-best of 3"."""
    return file_name(method.replace(", ", "-"))


def check_names(settings: Settings) -> None:
    """Check that no two rows of a run would go by one name, or by one name of files.

    Raises:
        ValueError: If two would, or a name is nothing but signs; the message says which.
    """
    seen: dict[str, str] = {}
    for option, name in _given(settings):
        stem = file_stem(name).casefold()  # some file systems do not tell cases apart
        for other, before in seen.items():
            ends = stem.removeprefix(f"{other}-"), other.removeprefix(f"{stem}-")
            if stem == other or any(
                end not in (stem, other) and end.startswith(_DERIVED) for end in ends
            ):
                raise ValueError(
                    f"{option} {name!r} and {before} would be one row with one file; give one of "
                    "them another name"
                )
        seen[stem] = f"{option} {name!r}"


def _given(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in settings.models:
        yield "--models", name
    for name, _ in settings.checkpoints:
        yield "--checkpoint", name
    for name, _ in settings.samples:
        yield "--samples", name
    for name, _ in settings.baselines:
        yield "--baseline", load_baseline(name).title
