"""Reconstruction: match rate and RMSE."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import StructureMatcher

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.known.kernel import OPEN, YES, PackedCells, compare_cells
from pyg_crysdiff.parallel import parallel_map

_TOGETHER = 16  # true crystals of one formula per task


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
    are divided by (V / N)^(1/3). The values are those of pymatgen, to 1e-8.

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
        valid = _validity(predicted)
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress}
    tasks: dict[Crystal, list[int]] = defaultdict(list)  # an object is its own key
    for i, (one, ok) in enumerate(zip(predicted, valid, strict=True)):
        if ok and isinstance(one, Crystal) and one.reducible:
            tasks[reference[i]].append(i)
    places = list(tasks.values())
    reduced = _reduced([*tasks, *(predicted[i] for some in places for i in some)], options)
    found = parallel_map(
        partial(_distances, tolerances=(ltol, stol, angle_tol)),
        [(reduced[truth], [reduced[predicted[i]] for i in some]) for truth, some in tasks.items()],
        label="matching", **options,
    )  # fmt: skip
    out = np.full(len(predicted), np.nan)
    for some, distances in zip(places, found, strict=True):
        out[some] = distances
    return out


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
        valid = _validity(predicted)
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress}
    formulas = {reduced_formula(crystal) for crystal in reference}
    groups: dict[str, list[Crystal]] = defaultdict(list)
    for one, ok in zip(predicted, valid, strict=True):
        if ok and isinstance(one, Crystal) and one.reducible and reduced_formula(one) in formulas:
            groups[reduced_formula(one)].append(one)
    members: dict[str, list[int]] = defaultdict(list)
    for i, crystal in enumerate(reference):
        if reduced_formula(crystal) in groups:
            members[reduced_formula(crystal)].append(i)
    places = [
        (formula, some[start : start + _TOGETHER])
        for formula, some in members.items()
        for start in range(0, len(some), _TOGETHER)
    ]
    reduced = _reduced(
        [*(c for f in members for c in groups[f]), *(reference[i] for _, s in places for i in s)],
        options,
    )
    found = parallel_map(
        partial(_best_distances, tolerances=(ltol, stol, angle_tol)),
        [
            ([reduced[reference[i]] for i in some], [reduced[c] for c in groups[formula]])
            for formula, some in places
        ],
        label="METRe", **options,
    )  # fmt: skip
    out = np.full(len(reference), np.nan)
    for (_, some), distances in zip(places, found, strict=True):
        out[some] = distances
    return out


@dataclass(frozen=True)
class _Reduced:
    """A crystal with the cell that ``get_rms_dist`` makes of it; None where it fails."""

    crystal: Crystal
    cell: PackedCells | None


def _validity(predicted: Sequence[Crystal | BrokenEntry]) -> list[bool]:
    """Return structural validity; a crystal that stands in many pairs is looked at once."""
    found = {c: structural_problem(c) is None for c in dict.fromkeys(predicted)}
    return [found[c] for c in predicted]


def _reduced(crystals: Sequence[Any], options: dict[str, Any]) -> dict[Any, _Reduced]:
    different = list(dict.fromkeys(crystals))
    made = parallel_map(_reduce, different, label="reduced cells", **options)
    return dict(zip(different, made, strict=True))


def _reduce(crystal: Crystal) -> _Reduced:
    """Reduce a crystal as pymatgen does before it compares: Niggli's cell, then a primitive one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structure = crystal.to_structure().get_reduced_structure(reduction_algo="niggli")
            structure = structure.get_primitive_structure()
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return _Reduced(crystal, None)
    numbers = np.array(structure.atomic_numbers)
    cell = PackedCells.of(structure.lattice.matrix, structure.frac_coords, numbers)
    return _Reduced(crystal, cell)


def _distances(
    task: tuple[_Reduced, list[_Reduced]], tolerances: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the distance of each prediction to one true crystal; NaN where they do not match."""
    truth, predicted = task
    out = np.full(len(predicted), np.nan)
    if truth.cell is None:
        return out
    equal = [
        (i, one.cell) for i, one in enumerate(predicted)
        if one.cell is not None and np.array_equal(one.cell.numbers, truth.cell.numbers)
    ]  # fmt: skip
    if not equal:
        return out
    cells, which = PackedCells.join([cell for _, cell in equal]), np.arange(len(equal))
    verdicts, rms = compare_cells(cells, which, truth.cell, tolerances, want_rms=True)
    for (i, _), verdict, value in zip(equal, verdicts, rms, strict=True):
        if verdict == OPEN:
            out[i] = _rms(predicted[i].crystal, truth.crystal, tolerances)
        elif verdict == YES:
            out[i] = value
    return out


def _best_distances(
    task: tuple[list[_Reduced], list[_Reduced]], tolerances: tuple[float, float, float]
) -> list[float]:
    truths, predicted = task
    found = (_distances((truth, predicted), tolerances) for truth in truths)
    return [min(values[np.isfinite(values)], default=np.nan) for values in found]


def _rms(predicted: Crystal, truth: Crystal, tolerances: tuple[float, float, float]) -> float:
    """Ask pymatgen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = StructureMatcher(*tolerances).get_rms_dist(
                predicted.to_structure(), truth.to_structure()
            )
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return float("nan")
    return float("nan") if found is None else float(found[0])
