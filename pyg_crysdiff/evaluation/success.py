"""Success rates of property optimisation.

Three ways to count generated crystals at or below a limit, and one to count starts:

- *all*: the predicted property alone decides (arXiv 2406.09263).
- *strict*: the crystal must be valid too.
- *unique*: it must also be the first of its kind among those that succeed.
- *best of ten*: a start counts where one of its ten candidates is valid and succeeds (CDVAE).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

CANDIDATES = 10
PERCENTILES = (5, 10, 15)


def property_success(predicted: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Return 1 for every generated crystal at or below the threshold, else 0; validity not asked.

    The mean is SR *all*. A crystal without a prediction is a failure.

    Args:
        predicted: Predicted property of each crystal, (M,); NaN where there is none.
        threshold: Upper limit of the property.

    Source: arXiv 2406.09263, where the success rate is the share of generated crystals whose
    property falls within the top 5, 10 or 15 %.
    """
    return _passes(predicted, True, threshold).astype(np.float64)


def strict_success(
    predicted: ArrayLike, valid: ArrayLike, threshold: float, first: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return 1 for every generated crystal that is valid and at or below the threshold, else 0.

    The mean is SR *strict*: the share of all generated crystals; invalid ones count as failures.

    Args:
        predicted: Predicted property of each crystal, (M,); NaN where there is none.
        valid: Validity, (M,).
        threshold: Upper limit of the property.
        first: If given, duplicates (False) count as failures too.
    """
    ok = _passes(predicted, valid, threshold)
    if first is not None:
        ok &= np.asarray(first, dtype=bool)
    return ok.astype(np.float64)


def unique_success(
    predicted: ArrayLike, valid: ArrayLike, threshold: float, kind: ArrayLike
) -> NDArray[np.float64]:
    """Return 1 for the first success of every kind of crystal, else 0.

    The mean is SR *unique*, the sum the number of different crystals that succeed. A crystal of a
    kind whose earlier members missed the threshold counts: the evaluator gives matching crystals
    slightly different values.

    Args:
        predicted: See :func:`strict_success`.
        valid: See :func:`strict_success`.
        threshold: Upper limit of the property.
        kind: Label of each crystal, equal for crystals that match
            (:func:`pyg_crysdiff.evaluation.uniqueness.kinds`), (M,).
    """
    hits = np.flatnonzero(_passes(predicted, valid, threshold))
    _, first = np.unique(np.asarray(kind)[hits], return_index=True)
    out = np.zeros(len(np.asarray(kind)))
    out[hits[first]] = 1.0
    return out


def best_of_ten_success(
    predicted: ArrayLike,
    valid: ArrayLike,
    threshold: float,
    first: ArrayLike | None = None,
    num_starts: int | None = None,
) -> NDArray[np.float64]:
    """Return 1 for every start of which the best of ten candidates succeeds, else 0.

    The ten are candidates along one optimisation. Ten independent draws succeed more often, and
    their rate must not stand beside this one.

    Samples are ten candidates for each start, candidate-major (sample c * starts + s); invalid
    ones get +inf; the smallest prediction counts. What is left over when the number of samples
    is no multiple of the number of starts is not used; too few samples give an empty array.

    Args:
        predicted: See :func:`strict_success`.
        valid: See :func:`strict_success`.
        threshold: Upper limit of the property.
        first: See :func:`strict_success`.
        num_starts: Starts, for files with another number of candidates than ten (CDVAE's script
            with its default settings saves eleven for each of 100 starts).

    Source: ``OptEval`` in CDVAE's ``compute_metrics.py`` (arXiv 2110.06197, section 5.4).
    """
    ok = strict_success(predicted, valid, threshold, first)
    starts = len(ok) // CANDIDATES if num_starts is None else num_starts
    candidates = len(ok) // starts if starts else 0
    return (
        ok[: starts * candidates]
        .reshape(candidates, starts)
        .max(0, initial=0.0)[: starts if candidates else 0]
    )


def _passes(predicted: ArrayLike, valid: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    values = np.asarray(predicted, dtype=np.float64)
    values = np.where(np.asarray(valid, dtype=bool) & np.isfinite(values), values, np.inf)
    return np.asarray(values <= threshold)


def percentile_thresholds(values: ArrayLike) -> tuple[float, float, float]:
    """Return the 5, 10 and 15 % points of the training values, as CDVAE's constants are made.

    Values that are not known, NaN, are left out.

    Raises:
        ValueError: If none is known.
    """
    every = np.asarray(values, dtype=np.float64)
    known = every[~np.isnan(every)]
    if len(known) == 0:
        raise ValueError(
            "no training crystal has a value of the property, so it has no percentiles"
        )
    points = np.percentile(known, PERCENTILES)
    return float(points[0]), float(points[1]), float(points[2])
