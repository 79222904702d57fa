"""Names of the rows of a benchmark, which also name its files."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyg_crysdiff.storage import file_name

# What the benchmark adds to the name of a model for further rows of it.
_DERIVED = re.compile(
    "unconditional|symmetrised|candidates|guidance |lowest |highest |maximum|paper.s sampler"
    "|[0-9,]+ chosen of |chosen|relaxed with |lowest energy of "
)


def file_stem(method: str) -> str:
    """Return the name of a row's files: of "cds, lowest 5 %" it is "cds-lowest 5 %"."""
    return file_name(method.replace(", ", "-"))


def check_names(names: Iterable[tuple[str, str]]) -> None:
    """Check that no two rows of a run would go by one name, or by one name of files.

    Args:
        names: For each row the option that asks for it and its name.

    Raises:
        ValueError: If two would, or a name is nothing but signs; the message says which.
    """
    seen: dict[str, str] = {}
    for option, name in names:
        stem = file_stem(name).casefold()  # some file systems do not tell cases apart
        for other, before in seen.items():
            ends = stem.removeprefix(f"{other}-"), other.removeprefix(f"{stem}-")
            if stem == other or any(
                end not in (stem, other) and _DERIVED.match(end) for end in ends
            ):
                raise ValueError(
                    f"{option} {name!r} and {before} would be one row with one file; give one of "
                    "them another name"
                )
        seen[stem] = f"{option} {name!r}"
