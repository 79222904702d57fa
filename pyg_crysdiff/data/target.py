"""Which column of a table is its target, where the user names none."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pyg_crysdiff.data.crystal import Crystal

_ROWS = re.compile(r"index|idx|row|row[ _]?(number|index|id)|level_\d+|unnamed.*", re.I)
_NAMES = re.compile(
    r"id|.*[ _-]id|split|fold|(space[ _]?group|spg|sg)([ _.]?(number|no|num))?", re.I
)
_SIZES = re.compile(r"n(um(ber)?)?[ _]?(of[ _])?(atoms|sites|nodes|elements|species)", re.I)
_KINDS = ((_ROWS, "a row number"), (_NAMES, "a label"), (_SIZES, "a count"))


def no_targets(
    names: Sequence[str], crystals: Sequence[Crystal], rows: Sequence[int]
) -> dict[str, str]:
    """Return the numeric columns that nobody means as a target, with what they are.

    What a name says is certain. What the values look like (they count the rows or the atoms, or
    are all the same) counts only where another column is left.

    Args:
        names: Numeric columns in their order.
        crystals: All crystals of the source, with the columns in ``info``.
        rows: Numbers of their entries.
    """
    by_name = {name: kind for name in names if (kind := _kind_of_name(name))}
    table = {n: np.array([c.info[n] for c in crystals]) for n in names if n not in by_name}
    empty = {name: "no values" for name, column in table.items() if np.isnan(column).all()}
    open_ones = [name for name in table if name not in empty]
    count, sizes = np.array(rows), np.array([len(c) for c in crystals])
    by_value = {n: kind for n in open_ones if (kind := _kind_of_values(table[n], count, sizes))}
    if len(by_value) == len(open_ones):
        by_value = {}
    return by_name | empty | by_value


def _kind_of_name(name: str) -> str | None:
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(name.strip())), None)


def _kind_of_values(values: np.ndarray, rows: np.ndarray, sizes: np.ndarray) -> str | None:
    if len(values) < 2:
        return None
    if np.ptp(values - rows) == 0:
        return "counts the rows"
    if (values == sizes).all():
        return "counts the atoms"
    return "all the same" if np.nanmax(values) == np.nanmin(values) else None
