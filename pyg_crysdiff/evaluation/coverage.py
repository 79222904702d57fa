"""Coverage: COV-R, COV-P and mean nearest distances between sets of fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.evaluation.distances import Distances
from pyg_crysdiff.evaluation.fingerprints import Fingerprints
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import jackknife_variance, mean_estimate, widened

_BLOCK, _MOST = 512, 2**24  # rows at once; distances at once, which bounds the memory


@dataclass(frozen=True)
class Nearest:
    """Nearest distances between generated (G,) and reference (R,) crystals with fingerprints.

    Attributes:
        structure_recall: Of each reference crystal, in structure space, (R,).
        structure_precision: Of each generated crystal, in structure space, (G,).
        composition_recall: Of each reference crystal, in composition space, (R,).
        composition_precision: Of each generated crystal, in composition space, (G,).
        joint_recall: Whether ONE generated crystal lies within both cut-offs, by family, (R,).
        joint_precision: Whether ONE reference crystal lies within both cut-offs, by family, (G,).
        alone: Number of reference crystals that each generated one covers alone, by family, (G,).
        joint_alone: The same for the joint form.
    """

    structure_recall: NDArray[np.float64]
    structure_precision: NDArray[np.float64]
    composition_recall: NDArray[np.float64]
    composition_precision: NDArray[np.float64]
    joint_recall: dict[str, NDArray[np.bool_]]
    joint_precision: dict[str, NDArray[np.bool_]]
    alone: dict[str, NDArray[np.int64]]
    joint_alone: dict[str, NDArray[np.int64]]


def nearest_distances(
    generated: Fingerprints,
    reference: Fingerprints,
    cutoffs: Mapping[str, tuple[float, float]],
) -> Nearest:
    """Return Euclidean nearest distances, computed in blocks of bounded memory.

    Args:
        generated: Fingerprints of samples; those without (``ok`` False) are left out.
        reference: Fingerprints of the reference set, likewise.
        cutoffs: Family name to (structure, composition) cut-offs.
    """
    gs, gc = generated.structure[generated.ok], generated.composition[generated.ok]
    rs, rc = reference.structure[reference.ok], reference.composition[reference.ok]
    structure = np.full(len(rs), np.inf), np.full(len(gs), np.inf)
    composition = np.full(len(rs), np.inf), np.full(len(gs), np.inf)
    joint = {f: (np.zeros(len(rs), bool), np.zeros(len(gs), bool)) for f in cutoffs}
    alone = {f: (np.zeros(len(gs), np.int64), np.zeros(len(gs), np.int64)) for f in cutoffs}
    rows = max(1, min(_BLOCK, _MOST // max(1, len(gs))))
    to_structures, to_compositions = Distances(gs), Distances(gc)
    for start in range(0, len(rs) if len(gs) else 0, rows):
        part = slice(start, start + rows)
        ds, dc = to_structures.from_rows(rs[part]), to_compositions.from_rows(rc[part])
        for distances, (recall, precision) in ((ds, structure), (dc, composition)):
            recall[part] = distances.nearest(1)
            np.minimum(precision, distances.nearest(0), out=precision)
        for family, (s_cut, c_cut) in cutoffs.items():
            near = ds.within(s_cut), dc.within(c_cut)
            both = near[0] & near[1]
            joint[family][0][part] = both.any(1)
            joint[family][1][:] |= both.any(0)
            alone[family][0][:] += _covered_alone(*near)
            alone[family][1][:] += _covered_alone(both)
    return Nearest(
        *structure,
        *composition,
        {family: flags[0] for family, flags in joint.items()},
        {family: flags[1] for family, flags in joint.items()},
        {family: counts[0] for family, counts in alone.items()},
        {family: counts[1] for family, counts in alone.items()},
    )


def _covered_alone(*near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count for each column the rows that would lose their cover without it.

    Args:
        near: What a row (R,) is covered by (G,); it needs one of each.
    """
    covered = np.all([flags.any(1) for flags in near], axis=0)
    only = [np.where(flags.sum(1) == 1, flags.argmax(1), -1) for flags in near]
    count = np.zeros(near[0].shape[1], np.int64)
    for number, place in enumerate(only):
        fresh = covered & (place >= 0)
        for before in only[:number]:
            fresh &= place != before
        count += np.bincount(place[fresh], minlength=len(count))
    return count


def coverage_metrics(
    generated: Fingerprints,
    reference: Fingerprints,
    cutoffs: Mapping[str, tuple[float, float]],
    num_bootstrap: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return COV, AMSD and AMCD, in the published code's form and in the papers' definition.

    Keys without suffix use the first family of cut-offs; ``key@family`` the others. For
    precision, generated entries without a fingerprint count as failures; means of distances
    are over those that have one, and are left out where none has. The interval of a recall holds,
    beside the resampling of the reference, the chance of which crystals were generated, by the
    jackknife (Efron & Stein 1981): of a few hundred samples that is the larger part.

    Source: ``get_coverage`` / ``compute_cov`` in CDVAE's ``eval_utils.py``.
    """
    near = nearest_distances(generated, reference, cutoffs)
    if len(generated.ok) == 0 or not reference.ok.any():
        return {}

    def mean(values: NDArray, proportion: bool = True) -> Estimate:
        return mean_estimate(values, num_bootstrap, seed, proportion=proportion)

    def over_all(flags: NDArray[np.bool_]) -> Estimate:
        lost = np.zeros(int((~generated.ok).sum()), dtype=bool)
        return mean(np.concatenate([flags, lost]))

    def recalled(flags: NDArray[np.bool_], alone: NDArray[np.int64]) -> Estimate:
        lost = np.zeros(len(generated.ok))
        lost[generated.ok] = alone / len(flags)
        return widened(mean(flags), jackknife_variance(flags.mean() - lost))

    out: dict[str, Estimate] = {}
    for number, (family, (s_cut, c_cut)) in enumerate(cutoffs.items()):
        end = "" if number == 0 else f"@{family}"
        recall = (near.structure_recall <= s_cut) & (near.composition_recall <= c_cut)
        precision = (near.structure_precision <= s_cut) & (near.composition_precision <= c_cut)
        out[f"cov_recall{end}"] = recalled(recall, near.alone[family])
        out[f"cov_precision{end}"] = over_all(precision)
        out[f"cov_recall_joint{end}"] = recalled(
            near.joint_recall[family], near.joint_alone[family]
        )
        out[f"cov_precision_joint{end}"] = over_all(near.joint_precision[family])
    if not generated.ok.any():
        return out  # nothing is covered, and there is no distance
    for key, distances in (
        ("amsd_recall", near.structure_recall),
        ("amsd_precision", near.structure_precision),
        ("amcd_recall", near.composition_recall),
        ("amcd_precision", near.composition_precision),
    ):
        out[key] = mean(distances, proportion=False)
    return out
