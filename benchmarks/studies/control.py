"""Do samples obey hard constraints, and what does that cost in validity and time?

    python benchmarks/studies/control.py RUN/last.ckpt --num-samples 500 --json control.json

Constraints are built from the model's own training set: its commonest elements and sizes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Element

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.sampling import Control, Sampler, Template, sample

Check = Callable[[Crystal], bool]


def main() -> None:
    """Sample under every constraint and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("--num-samples", type=int, default=500)
    add("--steps", type=int, default=50)
    add("--formula", default="Sr1Ti1O3")
    add("--chemical-system", default="Li-Fe-O")
    add("--elements", default="Li,Na,Mg,Al,Si,O,F,S,Cl", help="allowed elements")
    add("--template", type=Path, help="structure file; default: a perovskite of the formula")
    add("--seed", type=int, default=0)
    add("--json", type=Path)
    args = parser.parse_args()
    model = load_checkpoint(args.checkpoint)
    rows = []
    for name, control, options, obeys in constraints(args):
        start = time.perf_counter()
        crystals = sample(
            model, args.num_samples, target=None, control=control,
            sampler=Sampler.of("paper", steps=args.steps), guidance=1.0,
            seed=args.seed, progress=False, **{"num_atoms": "distribution", **options},
        )  # fmt: skip
        seconds = time.perf_counter() - start
        struct = [structural_problem(c) is None for c in crystals]
        comp = [smact_validity(c.atomic_numbers) for c in crystals]
        rows.append(
            {
                "constraint": name,
                "obeyed": float(np.mean([obeys(c) for c in crystals])),
                "struct_valid": float(np.mean(struct)),
                "comp_valid": float(np.mean(comp)),
                "valid": float(np.mean(np.array(struct) & np.array(comp))),
                "compositions": len({c.to_structure().formula for c in crystals}),
                "seconds": round(seconds, 1),
            }
        )
        print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}"
                        for k, v in rows[-1].items()), flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def constraints(
    args: argparse.Namespace,
) -> list[tuple[str, Control | None, dict[str, Any], Check]]:
    """Return name, control, other options, and the check of one crystal."""
    wanted = Composition(args.formula)
    system = set(args.chemical_system.split("-"))
    allowed = tuple(args.elements.split(","))
    template = _template(args, wanted)
    count = len(template)

    def symbols(crystal: Crystal) -> set[str]:
        return {Element.from_Z(int(z)).symbol for z in crystal.atomic_numbers}

    def keeps(crystal: Crystal, sites: int, lattice: bool) -> bool:
        delta = crystal.frac_coords[:sites] - template.frac_coords[:sites]
        same = bool(np.abs(delta - np.round(delta)).max() < 1e-5)
        same &= crystal.atomic_numbers[:sites].tolist() == template.atomic_numbers[:sites].tolist()
        return same and (
            not lattice or bool(np.abs(crystal.lattice - template.lattice).max() < 1e-4)
        )

    return [
        ("none", None, {}, lambda c: True),
        ("8 atoms", None, {"num_atoms": 8}, lambda c: len(c) == 8),
        ("4 to 6 atoms", None, {"num_atoms": (4, 6)}, lambda c: 4 <= len(c) <= 6),
        ("5 or 10 atoms, 1:3", None, {"num_atoms": {5: 1.0, 10: 3.0}}, lambda c: len(c) in (5, 10)),
        (
            f"formula {wanted.reduced_formula}",
            Control(formulas=(args.formula,)),
            {},
            lambda c: Composition(c.to_structure().composition) == wanted,
        ),
        (
            f"system {args.chemical_system}",
            Control(chemical_system=args.chemical_system),
            {},
            lambda c: symbols(c) == system,
        ),
        (
            f"only {args.elements}",
            Control(allowed=allowed),
            {},
            lambda c: symbols(c) <= set(allowed),
        ),
        (
            "no O, F, S",
            Control(forbidden=("O", "F", "S")),
            {},
            lambda c: not symbols(c) & {"O", "F", "S"},
        ),
        ("with O", Control(required=("O",)), {}, lambda c: "O" in symbols(c)),
        (
            "charge neutral",
            Control(charge_neutral=True),
            {},
            lambda c: smact_validity(c.atomic_numbers),
        ),
        (
            f"system {args.chemical_system}, neutral",
            Control(chemical_system=args.chemical_system, charge_neutral=True),
            {},
            lambda c: symbols(c) == system and smact_validity(c.atomic_numbers),
        ),
        (
            "template: cell and 2 sites",
            Control(template=Template(template, (0, 1))),
            {},
            lambda c: len(c) == count and keeps(c, 2, lattice=True),
        ),
        (
            "template: all sites, cell free",
            Control(template=Template(template, keep=("coordinates", "species"))),
            {},
            lambda c: keeps(c, count, lattice=False),
        ),
    ]  # fmt: skip


def _template(args: argparse.Namespace, wanted: Composition) -> Crystal:
    if args.template is not None:
        crystal = read_crystals(args.template)[0]
        if not isinstance(crystal, Crystal):
            raise ValueError(f"cannot read {args.template}: {crystal.reason}")
        return crystal
    numbers = [Element(s).Z for s, n in wanted.get_el_amt_dict().items() for _ in range(int(n))]
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    if len(numbers) != len(sites):
        raise ValueError(f"{args.formula} is no perovskite; give a --template")
    return Crystal(3.9 * np.eye(3), np.array(sites), np.array(numbers))


if __name__ == "__main__":
    main()
