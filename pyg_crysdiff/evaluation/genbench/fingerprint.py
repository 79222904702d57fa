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
    of the cell: a supercell has another fingerprint.

    Source: ``get_fingerprinter`` of LeMat-GenBench (arXiv 2512.04562).

    Raises:
        ImportError: If material-hasher is not installed.
    """
    try:
        _hasher_class()
    except ImportError as error:
        raise ImportError(f"{_MISSING} ({error})") from error
    return parallel_map(
        _fingerprint, crystals, num_workers=num_workers, progress=progress, label="BAWL"
    )


def _fingerprint(crystal: Crystal) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(_hasher().get_material_hash(crystal.to_structure()))
        except Exception:  # no bonds, no symmetry, and others
            return ""


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


def uniqueness_bawl(
    crystals: Sequence[Crystal], *, num_workers: int | None = None, progress: bool = False
) -> NDArray[np.float64]:
    """Return 1 for the first crystal of each fingerprint, 0 for repetitions, NaN without one."""
    found = bawl_fingerprints(crystals, num_workers=num_workers, progress=progress)
    seen: set[str] = set()
    out = np.full(len(found), np.nan)
    for k, value in enumerate(found):
        if value:
            out[k] = value not in seen
            seen.add(value)
    return out


def novelty_bawl(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """Return 1 for crystals whose fingerprint no known crystal has, else 0; NaN without one.

    Only known crystals with the atoms of some crystal are looked at, since the formula of the
    cell is part of the fingerprint.
    """
    wanted = {_atoms(c) for c in crystals}
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress}
    rivals = set(bawl_fingerprints([c for c in known if _atoms(c) in wanted], **options))
    found = bawl_fingerprints(crystals, **options)
    return np.array([float(value not in rivals) if value else np.nan for value in found])


def _atoms(crystal: Crystal) -> tuple[int, ...]:
    return tuple(sorted(crystal.atomic_numbers.tolist()))
