"""Many crystals in one file of plain arrays, double precision, loadable without execution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.storage import load_arrays, replacing, whole


@dataclass(frozen=True)
class Parsed:
    """What a source holds.

    Attributes:
        crystals: The readable ones, their properties in ``info`` (NaN where there is no value).
        ids: Their identifiers.
        rows: Numbers of their entries in the source, from 0.
        names: Properties.
        left_out: Columns that are no properties, with the reason.
        broken: Entries that could not be read.
    """

    crystals: Sequence[Crystal]
    ids: Sequence[str]
    rows: Sequence[int]
    names: Sequence[str]
    left_out: dict[str, str]
    broken: Sequence[BrokenEntry]


def save_parsed(path: Path, parsed: Parsed) -> None:
    """Write it, whole or not at all.

    Raises:
        OSError: If the folder cannot be written to.
    """
    crystals = parsed.crystals
    meta = {
        "ids": list(parsed.ids),
        "rows": [int(row) for row in parsed.rows],
        "names": list(parsed.names),
        "left_out": parsed.left_out,
        "info": [c.info for c in crystals],
        "broken": [asdict(b) for b in parsed.broken],
    }
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            lattice=np.array([c.lattice for c in crystals]).reshape(-1, 3, 3),
            frac_coords=np.concatenate([c.frac_coords for c in crystals] or [np.zeros((0, 3))]),
            atomic_numbers=np.concatenate(
                [c.atomic_numbers for c in crystals] or [np.zeros(0, int)]
            ),
            num_atoms=np.array([len(c) for c in crystals], dtype=np.int64),
            meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        )


def load_parsed(path: Path) -> Parsed | None:
    """Read what :func:`save_parsed` wrote; None where there is no such file or it is damaged."""
    return whole(path, _load)


def _load(path: Path) -> Parsed:
    with load_arrays(path) as arrays:
        meta = json.loads(arrays["meta"].tobytes().decode())
        cuts = np.cumsum(arrays["num_atoms"])
        fracs = np.split(arrays["frac_coords"], cuts)[:-1]
        numbers = np.split(arrays["atomic_numbers"], cuts)[:-1]
        crystals = [
            Crystal(lattice, frac, z, info)
            for lattice, frac, z, info in zip(
                arrays["lattice"], fracs, numbers, meta["info"], strict=True
            )
        ]
    broken = [BrokenEntry(**entry) for entry in meta["broken"]]
    if not len(crystals) == len(meta["ids"]) == len(meta["rows"]):
        raise ValueError(f"{path} is damaged")
    return Parsed(crystals, meta["ids"], meta["rows"], meta["names"], meta["left_out"], broken)
