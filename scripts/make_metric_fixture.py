"""Make ``tests/evaluation/fixture.json``: small inputs and metric values computed the slow way.

    python scripts/make_metric_fixture.py

Each value comes from the libraries themselves, structure by structure and pair by pair: matminer's
featurizers, pymatgen's StructureMatcher and distances, SciPy's Wasserstein distance. Nothing of the
harness takes part, except its table of Magpie means and deviations.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
from matminer.featurizers.composition import ElementProperty
from matminer.featurizers.site import CrystalNNFingerprint
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from pyg_crysdiff.data import load_dataset

ROOT = Path(__file__).resolve().parents[1]
SCALING = (
    ROOT / "pyg_crysdiff" / "evaluation" / "fingerprints" / "constants" / "magpie_scaling.json"
)
CUTOFFS = (0.6, 8.0)


def main() -> None:
    """Write the fixture."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(7)
    crystals = load_dataset("demo", "test").crystals()
    truth = [crystals[i].to_structure() for i in rng.choice(len(crystals), 12, replace=False)]
    # Distorted, so that no two neighbours tie: then every implementation must agree to rounding.
    truth = [distorted(s, rng, 0.02, 0.08) for s in truth]
    samples = [distorted(s, rng, 0.01, 0.15) for s in truth[:9]]
    samples += [distorted(truth[k], rng, 0.2, 1.2) for k in (9, 10, 11)]
    for sample in samples[:4]:  # other formulas than the reference, of the same charges
        sample.replace_species(
            {"Mg": "Zn", "Ca": "Cd", "Sr": "Ca", "Ba": "Sr", "Ti": "Hf", "O": "S"}
        )
    close = samples[1].copy()
    close.translate_sites([0], close[1].frac_coords - close[0].frac_coords + [0.01, 0, 0])
    samples[1] = close
    expected = generation(samples, truth) | reconstruction(samples, truth)
    content = {
        "cutoffs": CUTOFFS,
        "samples": [arrays(s) for s in samples],
        "reference": [arrays(s) for s in truth],
        "expected": expected,
    }
    file = ROOT / "tests" / "evaluation" / "fixture.json"
    file.write_text(json.dumps(content) + "\n", encoding="utf-8")
    print({k: v for k, v in expected.items() if not isinstance(v, list)})


def distorted(
    structure: Structure, rng: np.random.Generator, strain: float, move: float
) -> Structure:
    """Strain the cell and move the atoms at random."""
    lattice = structure.lattice.matrix @ (np.eye(3) + rng.normal(0, strain, (3, 3)))
    coords = structure.cart_coords + rng.normal(0, move, (len(structure), 3))
    return Structure(lattice, structure.species, coords, coords_are_cartesian=True)


def arrays(structure: Structure) -> dict[str, list]:
    """JSON-able form with all digits."""
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "frac_coords": structure.frac_coords.tolist(),
        "atomic_numbers": list(structure.atomic_numbers),
    }


def valid(structure: Structure) -> bool:
    """Volume and distances between different atoms."""
    distances = structure.distance_matrix + np.diag(np.full(len(structure), np.inf))
    return bool(structure.volume >= 0.1 and distances.min() >= 0.5)


def generation(samples: list[Structure], truth: list[Structure]) -> dict[str, object]:
    """Validity, EMDs and coverage. Every composition here is known to be plausible."""
    good = [valid(s) for s in samples]
    ops, magpie = CrystalNNFingerprint.from_preset("ops"), ElementProperty.from_preset("magpie")
    scaling = json.loads(SCALING.read_text(encoding="utf-8"))

    def prints(structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
        sites = [[ops.featurize(s, i) for i in range(len(s))] for s in structures]
        features = np.array([magpie.featurize(s.composition) for s in structures])
        scaled = (features - np.array(scaling["means"])) / np.array(scaling["stds"])
        return np.array([np.mean(site, axis=0) for site in sites]), scaled

    chosen = [s for s, ok in zip(samples, good, strict=True) if ok]
    (gs, gc), (rs, rc) = prints(samples), prints(truth)  # invalid ones too, as in CDVAE
    ds, dc = cdist(rs, gs), cdist(rc, gc)
    near = (ds.min(1) <= CUTOFFS[0]) & (dc.min(1) <= CUTOFFS[1])
    hits = (ds.min(0) <= CUTOFFS[0]) & (dc.min(0) <= CUTOFFS[1])
    joint = (ds <= CUTOFFS[0]) & (dc <= CUTOFFS[1])
    return {
        "struct_valid_each": good,
        "struct_valid": float(np.mean(good)),
        "density_emd": wasserstein_distance(
            [s.density for s in chosen], [s.density for s in truth]
        ),
        "cov_recall": float(near.mean()),
        "cov_precision": float(hits.sum() / len(samples)),
        "cov_recall_joint": float(joint.any(1).mean()),
        "cov_precision_joint": float(joint.any(0).sum() / len(samples)),
        "amsd_recall": float(ds.min(1).mean()),
        "amsd_precision": float(ds.min(0).mean()),
        "amcd_recall": float(dc.min(1).mean()),
        "amcd_precision": float(dc.min(0).mean()),
    }


def reconstruction(samples: list[Structure], truth: list[Structure]) -> dict[str, object]:
    """Match rate and RMSE, one by one; METRe and cRMSE, all against all."""
    matcher = StructureMatcher(stol=0.5, ltol=0.3, angle_tol=10)
    table = np.full((len(truth), len(samples)), np.nan)
    for i, t in enumerate(truth):
        for j, s in enumerate(samples):
            found = matcher.get_rms_dist(s, t) if valid(s) else None
            table[i, j] = np.nan if found is None else found[0]
    own = np.diag(table)
    best = np.nanmin(np.where(np.isnan(table), np.inf, table), axis=1)
    return {
        "rms_each": [None if np.isnan(v) else float(v) for v in own],
        "match_rate": float(np.isfinite(own).mean()),
        "rmse": float(np.nanmean(own)),
        "metre": float(np.isfinite(best).mean()),
        "crmse": float(np.where(np.isfinite(best), best, 0.5).mean()),
    }


if __name__ == "__main__":
    main()
