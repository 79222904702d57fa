r"""A second, independent judge: CHGNet's relaxed energies of generated crystals.

    python benchmarks/checks/second_judge.py cds=SAMPLES --dataset carbon24 --data-root DATA \
        --split val-as-train --num 100

For sets of one element, whose property is an energy per atom: CHGNet's energies of the training
crystals give the 5, 10 and 15 % points on its own scale; samples are relaxed, and the rates are the
shares of all samples whose relaxed energy lies below these points. Beside them: the distance that
atoms moved, the energy gained, and the energy above the training crystal that was asked for. Needs
the extra ``stability``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.data import Crystal, load_dataset, read_crystals
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.evaluation.success import PERCENTILES, percentile_thresholds
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.relaxation import Relaxation, RelaxSettings, relax, single_points


def main() -> None:
    """Relax, compare, print, and write JSON."""
    args = parse()
    train = load_dataset(args.dataset, "train", scheme=args.split, source=args.data_root)
    name = train.property_name
    assert name is not None
    crystals = with_value(train.crystals(), name)
    running = {"cache_dir": args.out / "cache", "num_workers": args.workers, "progress": True}
    energies = np.array([r.energy for r in single_points(crystals, "chgnet", **running)])
    known = np.isfinite(energies)
    limits = percentile_thresholds(energies[known])
    true = np.array([c.info[name] for c in crystals])
    asked = float(energies[true.argmin()])
    agreement = float(np.corrcoef(true[known], energies[known])[0, 1])
    print(f"CHGNet against {name} of {known.sum()} training crystals: correlation {agreement:.3f}")
    print(f"its 5, 10, 15 % points: {limits}; the crystal of lowest {name}: {asked:.4f} eV/atom")
    settings = RelaxSettings(args.relax_steps, fmax=0.1, smax=0.8)
    rows = {}
    for pair in args.samples:
        label, _, file = pair.partition("=")
        entries = read_crystals(file)
        # From the start would be the best ones of a file that is in order of a prediction.
        spread = np.linspace(0, len(entries) - 1, min(args.num, len(entries))).round().astype(int)
        entries = [entries[k] for k in spread]
        valid = [c for c in entries if isinstance(c, Crystal) and structural_problem(c) is None]
        found = relax(valid, "chgnet", settings, **running)
        rows[label] = {"file": Path(file).name, **compared(found, len(entries), limits, asked)}
        print(label, json.dumps(rows[label]), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    content = {"limits": limits, "requested": asked, "agreement": agreement, "rows": rows}
    (args.out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("samples", nargs="+", metavar="NAME=FILE")
    add("--dataset", required=True)
    add("--data-root", type=Path)
    add("--split", choices=["official", "val-as-train"], default="official")
    add("--num", type=int, default=100, help="crystals of each file, spread over it evenly")
    add("--relax-steps", type=int, default=100)
    add("--workers", type=int)
    add("--out", type=Path, default=Path("runs/second_judge"))
    return parser.parse_args()


def compared(
    found: Sequence[Relaxation], count: int, limits: Sequence[float], asked: float
) -> dict[str, Any]:
    """Return rates of relaxed crystals, as shares of the ``count`` samples they come from."""
    energy, moved, before = (
        np.array([getattr(r, name) for r in found]) for name in ("energy", "moved", "energy_before")
    )
    converged = np.array([r.converged for r in found])[np.isfinite(energy)]
    rates = {
        f"sr{p}": float(np.sum(energy <= limit)) / count
        for p, limit in zip(PERCENTILES, limits, strict=True)
    }
    return {
        "num_samples": count,
        "num_relaxed": int(np.isfinite(energy).sum()),
        **rates,
        "above_request_median": float(np.nanmedian(energy - asked)),
        "moved_median_angstrom": float(np.nanmedian(moved)),
        "gained_median": float(np.nanmedian(before - energy)),
        "converged": float(converged.mean()),
    }


if __name__ == "__main__":
    main()
