"""Several predicted structures of each composition: match rates, METRe and cRMSE."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_estimate
from pyg_crysdiff.evaluation.validity import structural_problem

MOST_PAIRS = 200_000  # of crystals of different rows, which METRe compares: minutes on a core
_STOL = 0.5
_RESAMPLES = 1000


@dataclass(frozen=True)
class CandidateDistances:
    """Normalised RMS displacements of K candidates for each of R true crystals; NaN: no match.

    Attributes:
        own: Of candidate k of composition r to the true crystal r, (K, R).
        pairs: Different rows of one reduced formula, (P, 2): a row whose candidates are compared
            with the true crystal of the other one.
        others: Displacements of these pairs, for all candidates (K, P) or the first (1, P); (0, P)
            where they were too many to compare.
    """

    own: NDArray[np.float64]
    pairs: NDArray[np.int64]
    others: NDArray[np.float64]

    @property
    def first(self) -> NDArray[np.float64] | None:
        """Smallest to each true crystal from any row's FIRST candidate, (R,); None if unknown."""
        return self._smallest(1)

    @property
    def pooled(self) -> NDArray[np.float64] | None:
        """Smallest to each true crystal from all candidates of any row, (R,); None if unknown."""
        return self._smallest(len(self.own))

    def of_chosen(self, chosen: NDArray[np.int64]) -> CandidateDistances:
        """Return the distances of one candidate for each composition; nothing is compared anew.

        Args:
            chosen: Index of the candidate of each composition, (R,).
        """
        own = self.own[chosen, np.arange(len(chosen))][None]
        columns = np.arange(len(self.pairs))
        known = len(self.others) == len(self.own)
        others = self.others[chosen[self.pairs[:, 0]], columns][None] if known else self.others[:0]
        return CandidateDistances(own, self.pairs, others)

    def _smallest(self, count: int) -> NDArray[np.float64] | None:
        if len(self.others) < count:
            return None
        out: NDArray[np.float64] = np.fmin.reduce(self.own[:count], axis=0)
        for distances in self.others[:count]:
            np.fmin.at(out, self.pairs[:, 1], distances)
        return out


def candidate_distances(
    candidates: Sequence[Sequence[Crystal]],
    reference: Sequence[Crystal],
    *,
    most_pairs: int = MOST_PAIRS,
    num_workers: int | None = None,
    progress: bool = False,
) -> CandidateDistances:
    """Compare candidates with true crystals; no pair is compared twice.

    The matcher is that of :func:`pyg_crysdiff.evaluation.matching.rms_distances`: StructureMatcher
    with stol 0.5, ltol 0.3, angle 10 degrees. Structurally invalid candidates match nothing.

    Args:
        candidates: K lists of R candidates, in the order of the true crystals.
        reference: R true crystals.
        most_pairs: Most pairs of different rows that METRe may compare; all rows of one reduced
            formula are compared with each other, which in a set of one element is all with all.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Raises:
        ValueError: If a list of candidates is not as long as the reference.
    """
    if not candidates or any(len(part) != len(reference) for part in candidates):
        raise ValueError(
            f"every composition needs the same number of candidates, at least one: "
            f"{len(reference)} true crystals, {[len(part) for part in candidates]} candidates"
        )
    count, size = len(candidates), len(reference)
    pairs = _other_pairs([reduced_formula(c) for c in reference])
    asked = 0 if len(pairs) > most_pairs else 1
    asked = count if count * len(pairs) <= most_pairs else asked
    work = [(k, r, r) for k in range(count) for r in range(size)]
    work += [(k, row, r) for k in range(asked) for row, r in pairs]
    valid = [[structural_problem(c) is None for c in part] for part in candidates]
    found = rms_distances(
        [candidates[k][row] for k, row, _ in work],
        [reference[r] for *_, r in work],
        valid=[valid[k][row] for k, row, _ in work],
        num_workers=num_workers,
        progress=progress,
    )
    return CandidateDistances(
        found[: count * size].reshape(count, size),
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        found[count * size :].reshape(asked, len(pairs)),
    )


def agreement(
    candidates: Sequence[Sequence[Crystal]],
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.int64]:
    """Count the other candidates of its composition that each candidate matches.

    No true crystal and no potential is asked: a structure that a model draws often is one of which
    it is sure. The matcher is that of :func:`candidate_distances`; a structurally invalid candidate
    matches nothing.

    Args:
        candidates: K lists of R candidates, in the same order of compositions.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Returns:
        Counts, 0 to K - 1, of shape (K, R).
    """
    count, size = len(candidates), len(candidates[0])
    valid = [[structural_problem(c) is None for c in part] for part in candidates]
    work = [(r, a, b) for r in range(size) for a, b in itertools.combinations(range(count), 2)]
    distances = rms_distances(
        [candidates[a][r] for r, a, _ in work],
        [candidates[b][r] for r, _, b in work],
        valid=[valid[a][r] and valid[b][r] for r, a, b in work],
        num_workers=num_workers,
        progress=progress,
    )
    found = np.zeros((count, size), dtype=np.int64)
    for (r, a, b), distance in zip(work, distances, strict=True):
        if np.isfinite(distance):
            found[[a, b], r] += 1
    return found


def candidate_metrics(
    distances: CandidateDistances, reference: Sequence[Crystal], seed: int
) -> dict[str, Estimate]:
    """Return match rates and RMSEs of the first and of any candidate, METRe and cRMSE.

    Keys that end in ``_struct`` ask for structural validity alone: what the papers report as "all".
    The others ask for SMACT too: "valid". Both are shares of ALL true crystals. What counts any of
    several candidates has ``_any`` in its name, and is left out where there is one candidate.

    Args:
        distances: Distances to the true crystals.
        reference: The true crystals, whose compositions the candidates have.
        seed: Seed of the bootstrap intervals.
    """
    plausible = np.array([smact_validity(c.atomic_numbers) for c in reference], dtype=bool)
    own = np.where(np.isnan(distances.own), np.inf, distances.own)
    single = len(own) == 1
    out = {}
    for kind, best in (("", own[0]), ("_any", own.min(0)))[: 1 if single else 2]:
        for suffix, counts in (("", plausible), ("_struct", np.ones_like(plausible))):
            ok = np.isfinite(best) & counts
            out[f"match_rate{kind}{suffix}"] = mean_estimate(ok, _RESAMPLES, seed)
            out[f"rmse{kind}{suffix}"] = mean_estimate(best[ok], _RESAMPLES, seed, proportion=False)
    pooled = None if single else distances.pooled
    for kind, smallest in (("", distances.first), ("_any", pooled)):
        if smallest is not None:
            matched, filled = np.isfinite(smallest), np.nan_to_num(smallest, nan=_STOL)
            out[f"metre{kind}_struct"] = mean_estimate(matched, _RESAMPLES, seed)
            out[f"crmse{kind}_struct"] = mean_estimate(filled, _RESAMPLES, seed, proportion=False)
    return out


def _other_pairs(formulas: Sequence[str]) -> list[tuple[int, int]]:
    """Return all pairs of different rows that have the same formula."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, formula in enumerate(formulas):
        groups[formula].append(row)
    return [(a, b) for rows in groups.values() for a in rows for b in rows if a != b]
