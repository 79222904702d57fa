"""GenBench's material fingerprint BAWL, where its package can be imported."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.parallel import parallel_map

_MISSING = (
    "the fingerprint BAWL needs the package material-hasher, which is not on the package index: "
    "pip install git+https://github.com/LeMaterial/lematerial-hasher"
)


def available() -> bool:
    """Whether material-hasher can be imported."""
    try:
        _hasher_class()
    except ImportError:
        return False
    return True


def bawl_fingerprints(
    crystals: Sequence[Crystal], *, num_workers: int | None = None, progress: bool = False
) -> list[str]:
    """Return the BAWL fingerprint of every crystal, empty where it has none.

    Bonds by pymatgen's ``EconNN``, Weisfeiler-Lehman hash of the bond graph, space group, formula
    of the cell: a supercell has another fingerprint. It takes some tenths of a second.

    Source: ``get_fingerprinter`` of LeMat-GenBench (arXiv 2512.04562).

    Raises:
        ImportError: If material-hasher is not installed.
        RuntimeError: If it fails on every crystal.
    """
    try:
        _hasher_class()
    except ImportError as error:
        raise ImportError(f"{_MISSING} ({error})") from error
    found = parallel_map(
        _fingerprint, crystals, num_workers=num_workers, progress=progress, label="BAWL"
    )
    reasons = [reason for _, reason in found if reason]
    if crystals and len(reasons) == len(crystals):
        raise RuntimeError(
            f"material-hasher fails on every crystal ({reasons[0]}); most likely its version does "
            "not fit the installed pymatgen"
        )
    return [value for value, _ in found]


def _fingerprint(crystal: Crystal) -> tuple[str, str]:
    """Fingerprint, and why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(_hasher().get_material_hash(crystal.to_structure())), ""
        except Exception as error:  # no bonds, no symmetry, and others
            return "", repr(error)


def _hasher_class() -> Any:
    with warnings.catch_warnings():  # it changes the filters of the whole process
        warnings.simplefilter("ignore")
        from material_hasher.hasher.bawl import BAWLHasher  # noqa: PLC0415
    return BAWLHasher


def _hasher() -> Any:
    from pymatgen.analysis.local_env import EconNN  # noqa: PLC0415

    return _hasher_class()(
        graphing_algorithm="WL",
        bonding_algorithm=EconNN,
        bonding_kwargs={"tol": 0.2, "cutoff": 10, "use_fictive_radius": True},
        include_composition=True,
        symmetry_labeling="SPGLib",
        shorten_hash=False,
    )


def first_of_kind(fingerprints: Sequence[str]) -> NDArray[np.float64]:
    """Return 1 for the first of each fingerprint, 0 for its repetitions, NaN where it is empty.

    Source: ``UniquenessMetric`` of LeMat-GenBench, which counts different fingerprints.
    """
    seen: set[str] = set()
    out = np.full(len(fingerprints), np.nan)
    for k, value in enumerate(fingerprints):
        if value:
            out[k] = value not in seen
            seen.add(value)
    return out


def unknown(fingerprints: Sequence[str], known: Sequence[str]) -> NDArray[np.float64]:
    """Return 1 for a fingerprint that is not among the known ones, else 0; NaN where it is empty.

    Source: ``NoveltyMetric`` of LeMat-GenBench.
    """
    all_known = set(known)
    return np.array([float(x not in all_known) if x else np.nan for x in fingerprints])


def rivals(crystals: Sequence[Crystal], known: Sequence[Crystal]) -> list[Crystal]:
    """Return the known crystals that can have the fingerprint of some crystal.

    They have the same atoms in their cell, since the formula is part of the fingerprint.
    """
    wanted = {_atoms(c) for c in crystals}
    return [c for c in known if _atoms(c) in wanted]


def _atoms(crystal: Crystal) -> tuple[int, ...]:
    return tuple(sorted(crystal.atomic_numbers.tolist()))
