"""Time the harness against the original way, side by side in one run.

    python benchmarks/speed/harness_speed.py SAMPLES REFERENCE [--num 1000] [--reference-num 1000]
    python benchmarks/speed/harness_speed.py --large 100000 --unique 1000 2000

The original way: one crystal after the other through pymatgen and matminer as CDVAE's
``compute_metrics.py`` does (validity, SMACT by enumeration, CrystalNN "ops" and Magpie
fingerprints), then dense distance matrices; in as many processes as the harness gets. Ours is
timed cold (empty cache) and warm (reference fingerprints cached). Prints ratios; ``--json`` keeps
them. ``--large N`` also measures time and peak memory of an N x N coverage, ``--unique N`` those
of the uniqueness of N made crystals of many formulas and of one element. These need no files.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import smact
from matminer.featurizers.composition import ElementProperty
from matminer.featurizers.site import CrystalNNFingerprint
from pymatgen.core import Element
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from smact.screening import pauling_test
from timing import peak_gib

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.parallel import available_cores, parallel_map

CUTOFFS = (0.4, 10.0)


@cache
def featurizers() -> tuple[Any, Any]:
    """The two featurizers of the original script."""
    return CrystalNNFingerprint.from_preset("ops"), ElementProperty.from_preset("magpie")


def composition_valid(numbers: np.ndarray) -> bool:
    """CDVAE's rule by enumeration of all combinations of oxidation states."""
    elements, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    symbols = [Element.from_Z(int(z)).symbol for z in elements]
    if len(symbols) == 1 or all(s in smact.metals for s in symbols):
        return True
    facts = [smact.Element(s) for s in symbols]
    if any(f.oxidation_states_smact14 is None for f in facts):
        return False
    negativities = [f.pauling_eneg for f in facts]
    return any(
        bool(smact.neutral_ratios(states, stoichs=[(int(c),) for c in counts]))
        and pauling_test(states, negativities)
        for states in itertools.product(*[f.oxidation_states_smact14 for f in facts])
    )


def original(crystal: Crystal) -> tuple[np.ndarray, np.ndarray, bool, float, int]:
    """Everything the original script computes of one crystal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = crystal.to_structure()
        distances = structure.distance_matrix + np.diag(np.full(len(structure), 10.5))
        valid = distances.min() >= 0.5 and structure.volume >= 0.1
        valid = bool(valid and composition_valid(crystal.atomic_numbers))
        sites, magpie = featurizers()
        composition = np.array(magpie.featurize(structure.composition))
        fingerprint = np.mean([sites.featurize(structure, i) for i in range(len(structure))], 0)
        return fingerprint, composition, valid, structure.density, len(set(structure.species))


def run_original(samples: list[Crystal], reference: list[Crystal], workers: int) -> None:
    """The original way over both sets."""
    options: dict[str, Any] = {"num_workers": workers, "progress": True, "label": "original"}
    found = [parallel_map(original, c, **options) for c in (samples, reference)]
    structure = cdist(*(np.array([r[0] for r in f]) for f in found))
    composition = cdist(*(np.array([r[1] for r in f]) for f in found))
    for axis in (0, 1):
        within = structure.min(axis) <= CUTOFFS[0]
        np.mean(within & (composition.min(axis) <= CUTOFFS[1]))
    for index in (3, 4):
        wasserstein_distance([r[index] for r in found[0] if r[2]], [r[index] for r in found[1]])


def run_ours(samples: list[Crystal], reference: list[Crystal], workers: int, folder: Path) -> None:
    """The harness on the same metrics."""
    protocol = Protocol(
        task="generation",
        reference=reference,
        cutoffs={"original": CUTOFFS},
        num_bootstrap=0,
        num_workers=workers,
        cache_dir=folder,
        uniqueness=False,
        space_groups=False,
    )
    evaluate(samples, protocol)


_COVERAGE = """
import json, resource, time, numpy as np
from pyg_crysdiff.evaluation.coverage import coverage_metrics
from pyg_crysdiff.evaluation.fingerprints import Fingerprints
n, rng = {n}, np.random.default_rng(0)
a, b = (Fingerprints(rng.random((n, 61)), rng.random((n, 132)), np.ones(n, bool)) for _ in "ab")
start = time.process_time()
coverage_metrics(a, b, {{"x": (0.4, 10.0)}}, 0, 0)
found = {{"cpu_s": time.process_time() - start}}
found["peak_GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps(found))
"""

_UNIQUENESS = """
import json, resource, time, numpy as np
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.uniqueness import first_occurrences
from pyg_crysdiff.known.cells import PrimitiveCells
n, rng, crystals = {n}, np.random.default_rng(0), []
for _ in range(n):
    kinds = [6] if {one_element} else rng.choice(np.arange(3, 84), 3)
    atoms = int(rng.choice([6, 8, 10, 12]))
    lattice = (8 * atoms) ** (1 / 3) * (np.eye(3) + rng.normal(0, 0.15, (3, 3)))
    crystals.append(Crystal(lattice, rng.random((atoms, 3)), np.resize(kinds, atoms)))
cells, start = PrimitiveCells(num_workers=1), time.process_time()
cells.of(crystals)
found = {{"cells_cpu_s": time.process_time() - start}}
start = time.process_time()
found["unique"] = int(first_occurrences(crystals, cells=cells, num_workers=1).sum())
found["cpu_s"] = time.process_time() - start
found["peak_GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps(found))
"""


def apart(code: str, **values: Any) -> dict[str, Any]:
    """Run some code in a process of its own and return what it prints, which is JSON."""
    command = [sys.executable, "-c", code.format(**values)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(out.stdout.splitlines()[-1]))


def against_original(args: argparse.Namespace) -> dict[str, Any]:
    """Time the harness and the original way on two files."""
    sets = [
        [c for c in read_crystals(path) if isinstance(c, Crystal)][:count]
        for path, count in ((args.samples, args.num), (args.reference, args.reference_num))
    ]
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            start = time.perf_counter()
            run_ours(*sets, args.workers, Path(folder))
            seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
    run_original(*sets, args.workers)
    seconds["original"] = time.perf_counter() - start
    return {
        "samples": len(sets[0]), "reference": len(sets[1]), "workers": args.workers,
        "seconds": seconds,
        "ratio_cold": seconds["original"] / seconds["cold"],
        "ratio_warm": seconds["original"] / seconds["warm"],
        "peak_GiB": peak_gib(),
    }  # fmt: skip


def main() -> None:
    """Time what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("samples", type=Path, nargs="?")
    parser.add_argument("reference", type=Path, nargs="?")
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--reference-num", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--large", type=int, nargs="*", default=[], help="also N x N coverage")
    parser.add_argument("--unique", type=int, nargs="*", default=[], help="also uniqueness of N")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.reference is None and not (args.large or args.unique):
        parser.error("give SAMPLES and REFERENCE, --large or --unique")
    result: dict[str, Any] = {} if args.reference is None else against_original(args)
    for n in args.large:
        result[f"coverage_{n}_squared"] = apart(_COVERAGE, n=n)
    for n in args.unique:
        result[f"uniqueness_{n}_many_formulas"] = apart(_UNIQUENESS, n=n, one_element=False)
        result[f"uniqueness_{n}_one_element"] = apart(_UNIQUENESS, n=n, one_element=True)
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
