"""Coverage: COV-R, COV-P and mean nearest distances between sets of fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from pyg_crysdiff.evaluation.fingerprints import Fingerprints
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_estimate

_BLOCK = 512


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
    """

    structure_recall: NDArray[np.float64]
    structure_precision: NDArray[np.float64]
    composition_recall: NDArray[np.float64]
    composition_precision: NDArray[np.float64]
    joint_recall: dict[str, NDArray[np.bool_]]
    joint_precision: dict[str, NDArray[np.bool_]]


def nearest_distances(
    generated: Fingerprints,
    reference: Fingerprints,
    cutoffs: Mapping[str, tuple[float, float]],
) -> Nearest:
    """Return Euclidean nearest distances, computed in blocks of bounded memory.

    Args:
        generated: Fingerprints of samples; those without (``ok`` False) are left out.
        reference: Fingerprints of the reference set, likewise.
        cutoffs: Family name to (structure, composition) cut-offs, for the joint form.
    """
    gs, gc = generated.structure[generated.ok], generated.composition[generated.ok]
    rs, rc = reference.structure[reference.ok], reference.composition[reference.ok]
    structure = np.full(len(rs), np.inf), np.full(len(gs), np.inf)
    composition = np.full(len(rs), np.inf), np.full(len(gs), np.inf)
    joint = {f: (np.zeros(len(rs), bool), np.zeros(len(gs), bool)) for f in cutoffs}
    for start in range(0, len(rs), _BLOCK):
        part = slice(start, start + _BLOCK)
        if not len(gs):
            break
        ds, dc = cdist(rs[part], gs), cdist(rc[part], gc)
        for distances, (recall, precision) in ((ds, structure), (dc, composition)):
            recall[part] = distances.min(1)
            np.minimum(precision, distances.min(0), out=precision)
        for family, (s_cut, c_cut) in cutoffs.items():
            both = (ds <= s_cut) & (dc <= c_cut)
            joint[family][0][part] = both.any(1)
            joint[family][1][:] |= both.any(0)
    return Nearest(
        *structure,
        *composition,
        {family: flags[0] for family, flags in joint.items()},
        {family: flags[1] for family, flags in joint.items()},
    )


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
    are over those that have one.

    Source: ``get_coverage`` / ``compute_cov`` in CDVAE's ``eval_utils.py``.
    """
    near = nearest_distances(generated, reference, cutoffs)
    if not generated.ok.any() or not reference.ok.any():
        return {}

    def mean(values: NDArray) -> Estimate:
        return mean_estimate(values, num_bootstrap, seed)

    def over_all(flags: NDArray[np.bool_]) -> Estimate:
        lost = np.zeros(int((~generated.ok).sum()), dtype=bool)
        return mean(np.concatenate([flags, lost]))

    out: dict[str, Estimate] = {}
    for number, (family, (s_cut, c_cut)) in enumerate(cutoffs.items()):
        end = "" if number == 0 else f"@{family}"
        recall = (near.structure_recall <= s_cut) & (near.composition_recall <= c_cut)
        precision = (near.structure_precision <= s_cut) & (near.composition_precision <= c_cut)
        out[f"cov_recall{end}"] = mean(recall)
        out[f"cov_precision{end}"] = over_all(precision)
        out[f"cov_recall_joint{end}"] = mean(near.joint_recall[family])
        out[f"cov_precision_joint{end}"] = over_all(near.joint_precision[family])
    out["amsd_recall"] = mean(near.structure_recall)
    out["amsd_precision"] = mean(near.structure_precision)
    out["amcd_recall"] = mean(near.composition_recall)
    out["amcd_precision"] = mean(near.composition_precision)
    return out
