"""Compare the harness with reference values of the original scripts, value by value.

    python benchmarks/checks/golden.py FOLDER

FOLDER holds JSON files that name their inputs (npz with frac_coords, atom_types, lengths, angles,
num_atoms) and hold the metrics, validity vectors and nearest distances that CDVAE's
``compute_metrics.py`` gave on them. Exit code 1 if a value is off. Structures whose fingerprint
depends on the order of tied neighbours are named: there the original's own result changes with
package versions and cell choices, by up to some 1e-3 per structure.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.coverage import coverage_metrics, nearest_distances
from pyg_crysdiff.evaluation.distribution import density, earth_movers_distance, num_elements
from pyg_crysdiff.evaluation.fingerprints import Fingerprints, fingerprint_crystals
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.validity import structural_problem

EXACT, TIED = 1e-9, 2e-5


class Check:
    """Collects comparisons and prints them as a table."""

    def __init__(self) -> None:
        self.failed = 0

    def equal(self, name: str, ours: Any, reference: Any) -> None:
        """Counts and booleans: exactly equal."""
        same = bool(np.array_equal(np.asarray(ours), np.asarray(reference)))
        self._say(name, "equal" if same else "DIFFERENT", same)

    def close(self, name: str, ours: Any, reference: Any, tolerance: float) -> None:
        """Continuous values: largest relative difference."""
        a, b = np.asarray(ours, dtype=float), np.asarray(reference, dtype=float)
        if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
            self._say(name, f"shape or gaps differ: {a.shape} {b.shape}", ok=False)
            return
        known = ~np.isnan(a)
        scale = np.maximum(np.abs(b[known]), 1e-3)  # a distance of zero is zero within 1e-12
        off = float((np.abs(a[known] - b[known]) / scale).max(initial=0.0))
        self._say(name, f"relative difference {off:.1e} (allowed {tolerance:g})", off <= tolerance)

    def _say(self, name: str, text: str, ok: bool) -> None:
        self.failed += not ok
        print(f"  {'ok  ' if ok else 'FAIL'} {name:<28} {text}")


def load(path: Path, rows: list[int] | None) -> list[Crystal]:
    """Read an input file."""
    with np.load(path) as z:
        ends = np.cumsum(z["num_atoms"])
        crystals = [
            Crystal.from_parameters(
                z["lengths"][i], z["angles"][i],
                z["frac_coords"][end - n : end], z["atom_types"][end - n : end],
            )
            for i, (n, end) in enumerate(zip(z["num_atoms"], ends, strict=True))
        ]  # fmt: skip
    # Rows count in the file the inputs were cut from; the cut keeps their order.
    return crystals if rows is None or len(rows) == len(crystals) else crystals[: len(rows)]


def check_generation(case: dict[str, Any], folder: Path, check: Check) -> None:
    """A case of CDVAE's GenEval."""
    predicted = load(folder / case["pred_input"], case.get("pred_rows"))
    reference = load(folder / case["gt_input"], case.get("gt_rows"))
    prints = [fingerprint_crystals(c, progress=True) for c in (predicted, reference)]
    per_sample, metrics = case["per_sample"], case["metrics"]
    comp = np.array([smact_validity(c.atomic_numbers) for c in predicted])
    struct = np.array([structural_problem(c) is None for c in predicted])
    valid = comp & struct & prints[0].ok
    for name, ours in (("comp_valid", comp), ("struct_valid", struct), ("valid", valid)):
        check.equal(f"{name} per sample", ours, per_sample[name])
        check.close(name, ours.mean(), metrics[name], EXACT)
    densities = np.array([density(c) for c in predicted])
    check.close("density per sample", densities, per_sample["density"], EXACT)
    counts = np.array([num_elements(c) for c in predicted])
    check.equal("elements per sample", counts, per_sample["nelem"])
    check.close(
        "wdist_density",
        earth_movers_distance(densities[valid], [density(c) for c in reference]),
        metrics["wdist_density"],
        EXACT,
    )
    check.close(
        "wdist_num_elems",
        earth_movers_distance(counts[valid], [num_elements(c) for c in reference]),
        metrics["wdist_num_elems"],
        EXACT,
    )
    check_coverage(case, prints[0], prints[1], check)


def check_coverage(
    case: dict[str, Any], predicted: Fingerprints, reference: Fingerprints, check: Check
) -> None:
    """COV, AMSD, AMCD and the nearest distances behind them."""
    cutoffs = {"original": (case["cutoffs"]["struc"], case["cutoffs"]["comp"])}
    ours = coverage_metrics(predicted, reference, cutoffs, 0, 0)
    for key in ("cov_recall", "cov_precision"):
        check.close(key, ours[key].value, case["metrics"][key], 1e-15)
    for key in ("amcd_recall", "amcd_precision"):
        check.close(key, ours[key].value, case["metrics"][key], EXACT)
    for key in ("amsd_recall", "amsd_precision"):
        check.close(key, ours[key].value, case["metrics"][key], TIED)
    near = nearest_distances(predicted, reference, {})
    for key, values, exact in (
        ("struc_recall_dist", near.structure_recall, False),
        ("struc_precision_dist", near.structure_precision, False),
        ("comp_recall_dist", near.composition_recall, True),
        ("comp_precision_dist", near.composition_precision, True),
    ):
        known = np.array(case["distances"][key])
        if exact:
            check.close(key, values, known, EXACT)
            continue
        off = np.flatnonzero(np.abs(values - known) > EXACT * np.maximum(known, 1))
        largest = float(np.abs(values - known).max())
        print(
            f"       {key:<28} {len(off)} of {len(known)} distances involve a structure with tied "
            f"neighbours (largest difference {largest:.1e}); rows {off.tolist()}"
        )


def check_reconstruction(case: dict[str, Any], folder: Path, check: Check) -> None:
    """A case of CDVAE's RecEval."""
    rows = [None if case.get(k) is None else case[k] for k in ("pred_rows", "gt_rows")]
    predicted = load(folder / case["pred_input"], rows[0])
    reference = load(folder / case["gt_input"], rows[1])
    ok = fingerprint_crystals(predicted, progress=True).ok
    valid = [
        structural_problem(c) is None and smact_validity(c.atomic_numbers) and bool(fp)
        for c, fp in zip(predicted, ok, strict=True)
    ]
    check.equal("valid per sample", valid, case["per_sample"]["valid"])
    rms = rms_distances(predicted, reference, valid=valid, progress=True)
    known = [np.nan if r is None else r[0] for r in case["per_sample"]["rms_and_max"]]
    check.close("rms per sample", rms, known, EXACT)
    check.close("match_rate", np.isfinite(rms).mean(), case["metrics"]["match_rate"], EXACT)
    check.close("rms_dist", np.nanmean(rms), case["metrics"]["rms_dist"], EXACT)


def main() -> None:
    """Check every JSON file of the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    check = Check()
    files = sorted(folder.glob("*.json"))
    if not files:
        parser.exit(2, f"error: no JSON files in {folder}\n")
    for file in files:
        case = json.loads(file.read_text(encoding="utf-8"))
        print(f"{file.name}: {case.get('source', '')}")
        if "match_rate" in case["metrics"]:
            check_reconstruction(case, folder, check)
        else:
            check_generation(case, folder, check)
    print(f"{check.failed} values differ" if check.failed else "every value agrees")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
