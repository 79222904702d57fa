"""What GenBench says of each entry: the columns of its table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.genbench.fingerprint import available
from pyg_crysdiff.evaluation.genbench.resources import supply_concentration
from pyg_crysdiff.evaluation.genbench.settings import GenBench
from pyg_crysdiff.evaluation.genbench.tables import MOST_ELEMENTS, ElementTables
from pyg_crysdiff.evaluation.genbench.validity import (
    analyser,
    charge_neutral,
    distances_ok,
    plausible,
)
from pyg_crysdiff.evaluation.reference import space_groups
from pyg_crysdiff.evaluation.validity import MIN_VOLUME
from pyg_crysdiff.parallel import parallel_map

Entry = Crystal | BrokenEntry


def genbench_columns(
    entries: Sequence[Entry],
    settings: GenBench,
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Return GenBench's columns, one row per entry.

    ``charge_neutral`` (``charge_neutral_icsd`` with pymatgen's oxidation states),
    ``min_distance_ok``, ``plausible``, ``genbench_valid`` (all three), ``hhi_production``,
    ``hhi_reserve`` (0 to 10), ``space_group_tight`` (spglib, 0.01 Angstrom; 0 where it finds
    none). What cannot be read fails every check and has no other value.

    Args:
        entries: Crystals and broken entries.
        settings: Whose element data.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: If a file of the checkout is missing.
    """
    tables = ElementTables.of(settings.checkout)
    rows = parallel_map(
        partial(_row, tables=tables), entries, num_workers=num_workers, progress=progress,
        label="GenBench",
    )  # fmt: skip
    names = [tables.charge_key, "min_distance_ok", "plausible", "genbench_valid"]
    names += ["hhi_production", "hhi_reserve", "space_group_tight"]
    return pd.DataFrame(rows, columns=names)


def tight_groups(crystals: Sequence[Crystal], **options: Any) -> list[int]:
    """Return space groups at GenBench's tolerance; 0 where none is found.

    Args:
        crystals: Crystals.
        **options: Processes, cache folder and progress, as in
            :func:`pyg_crysdiff.evaluation.reference.space_groups`.
    """
    return space_groups(crystals, find=_group, rule="GenBench, symprec 0.01", **options)


def readable(entry: Entry) -> bool:
    """Whether an entry is a crystal of known elements in a cell that can be worked with."""
    if not isinstance(entry, Crystal) or len(entry) == 0 or not entry.is_finite:
        return False
    known = (entry.atomic_numbers > 0) & (entry.atomic_numbers <= MOST_ELEMENTS)
    return bool(known.all() and entry.volume >= MIN_VOLUME and entry.reducible)


def settings_facts(settings: GenBench) -> dict[str, Any]:
    """Return everything in the settings that decides a result, JSON-able.

    Raises:
        FileNotFoundError: If a file of the checkout is missing.
    """
    tables = ElementTables.of(settings.checkout)
    states = {str(z): list(known) for z, known in tables.oxidation_states.items()}
    return {
        "only_valid": settings.only_valid,
        "bawl": available() if settings.bawl is None else settings.bawl,
        "source": tables.source,
        "states": states,
        "hhi": tables.hhi.tolist(),
    }


def _row(entry: Entry, tables: ElementTables) -> tuple[bool, bool, bool, bool, float, float, int]:
    if not isinstance(entry, Crystal) or not readable(entry):
        return (False, False, False, False, np.nan, np.nan, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib and pymatgen, on odd cells
        try:
            symmetry = analyser(entry.to_structure())
            group = int(symmetry.get_space_group_number())
        except Exception:  # in several ways
            symmetry, group = None, 0
    checks = (
        charge_neutral(entry, tables, symmetry),
        distances_ok(entry),
        plausible(entry, group),
    )
    production, reserve = supply_concentration(entry, tables).tolist()
    return (*checks, all(checks), production, reserve, group)


def _group(crystal: Crystal) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(analyser(crystal.to_structure()).get_space_group_number())
        except Exception:  # in several ways
            return 0
