"""Many crystals in one file of plain arrays, double precision, loadable without execution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal


def save_parsed(
    path: Path, crystals: Sequence[Crystal], names: Sequence[str], broken: Sequence[BrokenEntry]
) -> None:
    """Write crystals, their ``info``, the property names and the broken entries."""
    meta = {
        "names": list(names),
        "info": [c.info for c in crystals],
        "broken": [[b.index, b.reason, b.source] for b in broken],
    }
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        lattice=np.array([c.lattice for c in crystals]).reshape(-1, 3, 3),
        frac_coords=np.concatenate([c.frac_coords for c in crystals] or [np.zeros((0, 3))]),
        atomic_numbers=np.concatenate([c.atomic_numbers for c in crystals] or [np.zeros(0, int)]),
        num_atoms=np.array([len(c) for c in crystals], dtype=np.int64),
        meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
    )
    temporary.replace(path)


def load_parsed(path: Path) -> tuple[list[Crystal], list[str], list[BrokenEntry]]:
    """Read what :func:`save_parsed` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes().decode())
        cuts = np.cumsum(arrays["num_atoms"])[:-1]
        fracs = np.split(arrays["frac_coords"], cuts)
        numbers = np.split(arrays["atomic_numbers"], cuts)
        crystals = [
            Crystal(lattice, frac, z, info)
            for lattice, frac, z, info in zip(
                arrays["lattice"], fracs, numbers, meta["info"], strict=False
            )
        ]
    return crystals, meta["names"], [BrokenEntry(*entry) for entry in meta["broken"]]
