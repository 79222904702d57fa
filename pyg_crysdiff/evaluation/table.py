"""The table of an evaluation: a row per entry of a sample file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.evaluation import amd_distance
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.distribution import density, num_elements, space_group
from pyg_crysdiff.evaluation.lookup import lookup_columns
from pyg_crysdiff.evaluation.protocol import Entry, Protocol
from pyg_crysdiff.evaluation.uniqueness import PrimitiveCells, kinds, novel
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.finding import find_known
from pyg_crysdiff.known.prototypes import new_prototypes, prototype_kinds
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pyg_crysdiff.evaluation.fingerprints import Fingerprints


def describe(
    samples: Sequence[Entry], protocol: Protocol, prints: Fingerprints | None
) -> pd.DataFrame:
    """Return the table with one row per entry."""
    work = partial(_row, space_groups=protocol.space_groups)
    rows = parallel_map(
        work, samples, num_workers=protocol.num_workers, progress=protocol.progress,
        label="validity",
    )  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(0, "index", range(len(table)))
    table.insert(1, "name", [entry_name(sample) for sample in samples])
    valid = table["struct_valid"].copy()
    if protocol.validity == "cdvae":
        valid &= table["comp_valid"]
    if prints is not None:
        lost = valid & ~prints.ok
        table.loc[lost, "reason"] = "no fingerprint"
        valid &= prints.ok
    table["valid"] = valid
    if protocol.evaluator is not None:
        predicted = protocol.evaluator.predict(samples, progress=protocol.progress)
        table["predicted"] = np.asarray(predicted, dtype=np.float64)
    flags = valid.to_numpy(dtype=bool)
    chosen = [c for c, ok in zip(samples, flags, strict=True) if ok and isinstance(c, Crystal)]
    columns: dict[str, NDArray] = {}
    cells = PrimitiveCells(num_workers=protocol.num_workers, progress=protocol.progress)
    if protocol.uniqueness and protocol.task != "reconstruction":
        columns |= _repetition(chosen, protocol, cells)
    for name, values in columns.items():
        table[name] = _spread(flags, values)
    if protocol.lookup:
        known = _known(samples, table["struct_valid"].tolist(), protocol, cells)
        table = table.assign(**known)
    if protocol.genbench is not None:
        from pyg_crysdiff.evaluation.genbench.rows import genbench_columns  # noqa: PLC0415

        found = genbench_columns(
            samples, protocol.genbench,
            num_workers=protocol.num_workers, progress=protocol.progress,
        )  # fmt: skip
        table = table.join(found)
    return table


def valid_crystals(
    samples: Sequence[Entry],
    *,
    validity: str = "cdvae",
    num_workers: int | None = None,
    progress: bool = False,
) -> list[Crystal]:
    """Return the crystals that an evaluation without COV calls valid: those that judges relax.

    Args:
        samples: Entries of a sample file.
        validity: As in :class:`Protocol`.
        num_workers: As in :class:`Protocol`.
        progress: Show progress.
    """
    checks = Protocol(
        validity=validity, num_workers=num_workers, progress=progress,
        uniqueness=False, space_groups=False,
    )  # fmt: skip
    flags = describe(samples, checks, None)["valid"]
    return [c for c, ok in zip(samples, flags, strict=True) if ok and isinstance(c, Crystal)]


def _known(
    samples: Sequence[Entry], usable: Sequence[bool], protocol: Protocol, cells: PrimitiveCells
) -> dict[str, list]:
    """Columns on the known crystals that structurally valid ones match; SMACT is not asked."""
    name = protocol.lookup_name()
    assert name is not None
    return lookup_columns(
        samples, usable, protocol.lookup, name,
        cells=cells, num_workers=protocol.num_workers, progress=protocol.progress,
    )  # fmt: skip


def _repetition(
    chosen: Sequence[Crystal], protocol: Protocol, cells: PrimitiveCells
) -> dict[str, NDArray]:
    """Columns on whether valid crystals repeat each other or known ones."""
    options: dict[str, Any] = {"num_workers": protocol.num_workers, "progress": protocol.progress}
    early = np.arange(len(chosen))[: protocol.uniqueness_of]
    kind = kinds([chosen[k] for k in early], cells=cells, **options)
    out: dict[str, NDArray] = {
        "first": _where_known(early, kind == np.arange(len(kind)), len(chosen)),
        "kind": _where_known(early, kind.astype(np.float64), len(chosen)),
    }
    if protocol.train:
        spread = evenly(len(chosen), protocol.novelty_of)
        new = novel([chosen[k] for k in spread], protocol.train, cells=cells, **options)
        out["novel"] = _where_known(spread, new, len(chosen))
    if protocol.database is not None:
        out |= _in_database(chosen, protocol, cells)
    if protocol.prototypes:
        out |= _prototypes(chosen, protocol, cells)
    if amd_distance.available():
        out["amd_earlier"] = amd_distance.nearest_earlier(chosen, **options)
        if protocol.train:
            out["amd_train"] = amd_distance.nearest_known(chosen, protocol.train, **options)
    return out


def _in_database(
    chosen: Sequence[Crystal], protocol: Protocol, cells: PrimitiveCells
) -> dict[str, NDArray]:
    """Columns on the crystals of the database that valid ones match."""
    assert protocol.database is not None
    spread = evenly(len(chosen), protocol.novelty_of)
    found = find_known(
        [chosen[k] for k in spread], Database(protocol.database),
        cells=cells, num_workers=protocol.num_workers, progress=protocol.progress,
    )  # fmt: skip
    names = np.full(len(chosen), "", dtype=object)
    names[spread] = ["" if known is None else known.name or str(known.row) for known in found]
    new = np.array([known is None for known in found], dtype=bool)
    return {"novel_database": _where_known(spread, new, len(chosen)), "database_id": names}


def _prototypes(
    chosen: Sequence[Crystal], protocol: Protocol, cells: PrimitiveCells
) -> dict[str, NDArray]:
    """Columns on crystals of one structure, whatever their elements are."""
    options: dict[str, Any] = {
        "cells": cells, "num_workers": protocol.num_workers, "progress": protocol.progress,
    }  # fmt: skip
    early = np.arange(len(chosen))[: protocol.uniqueness_of]
    kind = prototype_kinds([chosen[k] for k in early], **options).astype(np.float64)
    out: dict[str, NDArray] = {"prototype": _where_known(early, kind, len(chosen))}
    known = Database(protocol.database) if protocol.database is not None else protocol.train
    if protocol.database is not None or protocol.train:
        spread = evenly(len(chosen), protocol.novelty_of)
        new = new_prototypes([chosen[k] for k in spread], known, **options)
        out["new_prototype"] = _where_known(spread, new, len(chosen))
    return out


def evenly(count: int, most: int | None) -> NDArray[np.int64]:
    """Return at most ``most`` of ``count`` indices, spread evenly and ascending; None for all."""
    if most is None or most >= count:
        return np.arange(count)
    return np.arange(most) * count // most


def _where_known(places: NDArray[np.int64], values: NDArray, count: int) -> NDArray:
    """Put values in their places; NaN where nothing was compared, flags where all were."""
    if len(places) == count:
        return values
    out = np.full(count, np.nan)
    out[places] = values
    return out


def _spread(chosen: NDArray[np.bool_], values: NDArray) -> NDArray:
    """Put values of the chosen rows in their places; False, "" or NaN elsewhere."""
    empty = {"b": False, "O": ""}.get(values.dtype.kind, np.nan)
    out = np.full(len(chosen), empty, dtype=values.dtype)
    out[chosen] = values
    return out


def entry_name(entry: Entry) -> str:
    """Return what an entry is called in its file: identifier, file or row; empty without one."""
    return str(entry.info.get("material_id", "")) if isinstance(entry, Crystal) else entry.source


def _row(entry: Entry, space_groups: bool) -> dict[str, object]:
    problem = structural_problem(entry)
    row: dict[str, object] = {"formula": "", "num_atoms": 0, "space_group": 0}
    comp_valid = comp_valid_today = False
    row |= {"density": np.nan, "num_elements": np.nan, "volume": np.nan}
    if isinstance(entry, Crystal) and len(entry):
        comp_valid = smact_validity(entry.atomic_numbers)
        comp_valid_today = smact_validity(entry.atomic_numbers, "smact4")
        row |= {"num_atoms": len(entry), "num_elements": num_elements(entry)}
        row |= {"volume": entry.volume, "density": density(entry)}
        if problem is None:
            row["formula"] = reduced_formula(entry)
            row["space_group"] = space_group(entry) if space_groups else 0
    row |= {
        "struct_valid": problem is None,
        "comp_valid": comp_valid,
        "comp_valid_smact4": comp_valid_today,
        "reason": problem or ("" if comp_valid else "composition"),
    }
    return row
