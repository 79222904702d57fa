"""Compare GenBench's families with the code of LeMat-GenBench itself, value by value.

    python benchmarks/checks/genbench.py CHECKOUT SAMPLES REFERENCE [-n 250] [--chgnet]

CHECKOUT is a checkout of LeMaterial/lemat-genbench; SAMPLES and REFERENCE are files of crystals.
Its functions run in a process of their own, unmodified, on the first n structures of both files.
Verdicts must be equal, numbers must agree to 1e-6. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.fingerprints import fingerprint_crystals
from pyg_crysdiff.evaluation.genbench import (
    GenBench,
    chgnet_embeddings,
    frechet_distance,
    genbench_metrics,
)
from pyg_crysdiff.evaluation.genbench.rows import genbench_columns, readable

TOLERANCE = 1e-6
RUNNER = Path(__file__).with_name("genbench_original.py")
# Our metric to the original's class and the name of its value.
NUMBERS = {
    "entropy_elements": ("elements", "element_diversity_shannon_entropy"),
    "vendi_elements": ("elements", "element_diversity_vendi_score"),
    "coverage_elements": ("elements", "element_coverage_ratio"),
    "entropy_space_groups": ("space_groups", "spacegroup_diversity_shannon_entropy"),
    "vendi_space_groups": ("space_groups", "spacegroup_diversity_vendi_score"),
    "coverage_space_groups": ("space_groups", "space_group_coverage"),
    "mean_symmetry": ("space_groups", "mean_symmetry_rating"),
    "entropy_sizes": ("sizes", "site_number_diversity_shannon_entropy"),
    "vendi_sizes": ("sizes", "site_number_diversity_vendi_score"),
    "mean_num_atoms": ("sizes", "mean_atoms_per_structure"),
    "entropy_physical": ("physical", "avg_norm_shannon_entropy"),
    "mean_box_volume": ("physical", "mean_volume"),
    "hhi_production": ("hhi_production", "hhiproduction_mean"),
    "hhi_reserve": ("hhi_reserve", "hhireserve_mean"),
    "jsd_space_group": ("jsd", "SpaceGroup"),
    "jsd_crystal_system": ("jsd", "CrystalSystem"),
    "jsd_atoms": ("jsd", "CompositionCounts"),
    "jsd_elements": ("jsd", "Composition"),
    "jsd_mean": ("jsd", "Average_Jensen_Shannon_Distance"),
    "mmd_volume": ("mmd", "Volume"),
    "mmd_density": ("mmd", "Density(g/cm^3)"),
    "mmd_atomic_density": ("mmd", "Density(atoms/A^3)"),
    "mmd_mean": ("mmd", "Average_MMD"),
}
for _ours, _theirs in (
    ("density", "density"), ("length_a", "lattice_a"), ("length_b", "lattice_b"),
    ("length_c", "lattice_c"), ("packing", "packing_factor"),
):  # fmt: skip
    NUMBERS[f"entropy_{_ours}"] = ("physical", f"{_theirs}_diversity_shannon_entropy")
    _kl = f"{_theirs}_diversity_kl_divergence_from_uniform"
    NUMBERS[f"unevenness_{_ours}"] = ("physical", _kl)


class Check:
    """Collects comparisons and prints them as a table."""

    def __init__(self) -> None:
        self.failed = 0

    def verdicts(self, name: str, ours: Any, theirs: Any) -> None:
        """Flags of every structure: equal, but for those where the original stopped (None)."""
        stopped = [k for k, x in enumerate(theirs) if x is None]
        off = [k for k, x in enumerate(theirs) if x is not None and bool(x) != bool(ours[k])]
        text = f"{len(theirs) - len(off) - len(stopped)} of {len(theirs)} equal"
        text += f", {sum(map(bool, ours))} true"
        text += f"; DIFFERENT in rows {off}" if off else ""
        text += f"; the original stops with an error in rows {stopped}" if stopped else ""
        self._say(name, text, not off)

    def number(self, name: str, ours: float, theirs: float) -> None:
        """One value."""
        off = abs(ours - theirs)
        text = f"{ours:15.9f} {theirs:15.9f}   difference {off:.1e}"
        self._say(name, text, off <= TOLERANCE * max(1.0, abs(theirs)))

    def numbers(self, name: str, ours: Any, theirs: Any) -> None:
        """A value per structure."""
        off = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
        self._say(name, f"{len(theirs)} values, largest difference {off:.1e}", off <= TOLERANCE)

    def _say(self, name: str, text: str, ok: bool) -> None:
        self.failed += not ok
        print(f"  {'ok  ' if ok else 'FAIL'} {name:<32} {text}")


def compare(
    samples: list[Crystal],
    reference: list[Crystal],
    embeddings: dict[str, list[np.ndarray]],
    checkout: Path,
    check: Check,
) -> None:
    """Compare everything on two sets of crystals and their embeddings by kind."""
    theirs = original(checkout, samples, reference, embeddings)
    settings = GenBench(checkout=checkout, only_valid=False)
    table = genbench_columns(samples, settings)
    print("verdicts of each structure, ours against the original's")
    for key in ("charge_neutral", "min_distance_ok", "plausible", "genbench_valid"):
        check.verdicts(key, table[key].tolist(), theirs["verdicts"][key])
    print("values of each structure")
    for key in ("hhi_production", "hhi_reserve"):
        check.numbers(key, table[key], theirs["values"][key])
    print("numbers: ours, the original's")
    ours = genbench_metrics(samples, reference, settings=settings, num_bootstrap=0)
    for key, (family, name) in NUMBERS.items():
        check.number(key, ours[key].value, theirs["numbers"][family][name])
    for key, (a, b) in embeddings.items():
        check.number(f"frechet_{key}", frechet_distance(a, b), theirs["frechet"][key])
    without_checkout(samples, table, theirs)


def embedded(sets: list[list[Crystal]], chgnet: bool) -> dict[str, list[np.ndarray]]:
    """Embeddings of sets of crystals by kind."""
    prints = [fingerprint_crystals(c, progress=False) for c in sets]
    out = {
        "structure": [p.structure[p.ok] for p in prints],
        "composition": [p.composition[p.ok] for p in prints],
    }
    if chgnet:
        found = [chgnet_embeddings(c) for c in sets]
        out["chgnet"] = [x[np.isfinite(x).all(1)] for x in found]
    return out


def without_checkout(samples: list[Crystal], table: Any, theirs: dict[str, Any]) -> None:
    """Say how far pymatgen's element data lead from the original's."""
    print("with pymatgen's element data instead of the checkout's")
    own = genbench_columns(samples, GenBench())
    ours, known = own["charge_neutral_icsd"], theirs["verdicts"]["charge_neutral"]
    rows = [k for k, x in enumerate(known) if bool(x) != bool(ours[k])]
    names = [f"{samples[k].to_structure().composition.reduced_formula}" for k in rows]
    stricter = sum(bool(known[k]) for k in rows)
    print(f"       charge_neutral_icsd: {len(rows)} of {len(samples)} verdicts differ, of which")
    print(f"       {stricter} are stricter: {' '.join(names)}")
    for key in ("hhi_production", "hhi_reserve"):
        off = np.abs(own[key] - table[key])
        print(f"       {key}: mean difference {off.mean():.4f}, largest {off.max():.4f} of 10")


def original(
    checkout: Path,
    samples: list[Crystal],
    reference: list[Crystal],
    embeddings: dict[str, list[np.ndarray]],
) -> dict[str, Any]:
    """Run the original in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"samples": _plain(samples), "reference": _plain(reference)}
        given["embeddings"] = {k: [x.tolist() for x in pair] for k, pair in embeddings.items()}
        (Path(folder) / "given.json").write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, str(RUNNER), str(checkout.resolve()), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: the original did not run\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads((Path(folder) / "found.json").read_text())
    return found


def _plain(crystals: list[Crystal]) -> list[list[Any]]:
    return [
        [c.lattice.tolist(), c.atomic_numbers.tolist(), c.frac_coords.tolist()] for c in crystals
    ]


def _first(path: Path, count: int) -> list[Crystal]:
    found = [c for c in read_crystals(path) if isinstance(c, Crystal) and readable(c)]
    return found[:count]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("-n", type=int, default=250, help="structures of each file")
    parser.add_argument("--chgnet", action="store_true", help="CHGNet's embeddings, too")
    args = parser.parse_args()
    check = Check()
    files = [args.samples, args.reference]
    sets = [_first(path, args.n) for path in files]
    embeddings = embedded(sets, args.chgnet)
    for k, path in enumerate(files):
        mine, other = sets[k], sets[1 - k]
        print(f"{path.name}: {len(mine)} structures, against {len(other)} of the other file")
        turned = {name: [pair[k], pair[1 - k]] for name, pair in embeddings.items()}
        compare(mine, other, turned, args.checkout, check)
    print(f"{check.failed} comparisons differ" if check.failed else "everything agrees")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
