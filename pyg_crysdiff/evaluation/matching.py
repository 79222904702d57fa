"""Reconstruction: match rate and RMSE."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import StructureMatcher

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.parallel import parallel_map


def rms_distances(
    predicted: Sequence[Crystal | BrokenEntry],
    reference: Sequence[Crystal],
    *,
    valid: Sequence[bool] | None = None,
    ltol: float = 0.3,
    stol: float = 0.5,
    angle_tol: float = 10.0,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """Return the normalised RMS displacement of each pair, (M,); NaN where it does not match.

    The share of matches is the *match rate*, the mean over matches the *RMSE*. Displacements
    are divided by (V / N)^(1/3).

    Source: ``RecEval`` in CDVAE's ``compute_metrics.py``: StructureMatcher.get_rms_dist with
    stol 0.5, ltol 0.3, angle 10 degrees, over pairs whose prediction is valid.

    Args:
        predicted: Predictions.
        reference: True crystals, in the same order.
        valid: Validity of the predictions; None for structural validity.
        ltol: Fractional length tolerance.
        stol: Site tolerance, in (V / N)^(1/3).
        angle_tol: Angle tolerance, degrees.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Raises:
        ValueError: If the lists differ in length.
    """
    if len(predicted) != len(reference):
        raise ValueError(
            f"{len(predicted)} predictions but {len(reference)} reference crystals; "
            "reconstruction compares them one by one"
        )
    if valid is None:
        valid = [structural_problem(c) is None for c in predicted]
    work = partial(_rms, ltol=ltol, stol=stol, angle_tol=angle_tol)
    pairs = [(p, r) if ok else None for p, r, ok in zip(predicted, reference, valid, strict=True)]
    return np.array(
        parallel_map(work, pairs, num_workers=num_workers, progress=progress, label="matching"),
        dtype=np.float64,
    )


def best_rms_distances(
    predicted: Sequence[Crystal | BrokenEntry],
    reference: Sequence[Crystal],
    *,
    valid: Sequence[bool] | None = None,
    ltol: float = 0.3,
    stol: float = 0.5,
    angle_tol: float = 10.0,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """Return, for each reference crystal, the smallest RMS distance to ANY prediction, (R,).

    NaN where no prediction matches. The share of matched references is *METRe* (match everyone
    to reference); the mean with ``stol`` in the place of NaN is *cRMSE*. Unlike the match rate,
    both look at the set and not at pairs, so that polymorphs need no order.

    Source: Martirossyan et al., arXiv 2509.12178.

    Args:
        predicted: Predictions, any number.
        reference: True crystals.
        valid: Validity of the predictions; None for structural validity.
        ltol: Fractional length tolerance.
        stol: Site tolerance, in (V / N)^(1/3).
        angle_tol: Angle tolerance, degrees.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    if valid is None:
        valid = [structural_problem(c) is None for c in predicted]
    groups: dict[str, list[Crystal]] = defaultdict(list)
    for crystal, ok in zip(predicted, valid, strict=True):
        if ok and isinstance(crystal, Crystal):
            groups[reduced_formula(crystal)].append(crystal)
    work = partial(_best_rms, ltol=ltol, stol=stol, angle_tol=angle_tol)
    tasks = [(crystal, groups.get(reduced_formula(crystal), [])) for crystal in reference]
    found = parallel_map(work, tasks, num_workers=num_workers, progress=progress, label="METRe")
    return np.array(found, dtype=np.float64)


def _best_rms(
    task: tuple[Crystal, list[Crystal]], ltol: float, stol: float, angle_tol: float
) -> float:
    reference, candidates = task
    values = [_rms((c, reference), ltol=ltol, stol=stol, angle_tol=angle_tol) for c in candidates]
    matched = [v for v in values if np.isfinite(v)]
    return min(matched, default=float("nan"))


def _rms(
    pair: tuple[Crystal | BrokenEntry, Crystal] | None, ltol: float, stol: float, angle_tol: float
) -> float:
    if pair is None or isinstance(pair[0], BrokenEntry) or not pair[0].reducible:
        return float("nan")
    matcher = StructureMatcher(stol=stol, angle_tol=angle_tol, ltol=ltol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = matcher.get_rms_dist(pair[0].to_structure(), pair[1].to_structure())
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return float("nan")
    return float("nan") if found is None else float(found[0])
