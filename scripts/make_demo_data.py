"""Make the bundled demo set: cubic perovskites ABX3 with CHGNet energies.

For every combination of the elements below, the cubic cell parameter is the minimum of the
CHGNet energy along a, and the formation energy is taken against the CHGNet energies of simple
elemental prototypes. Needs the extra ``stability`` (CHGNet; its weights ship in its wheel).

    python scripts/make_demo_data.py            # about ten minutes on one core

Writes ``pyg_crysdiff/data/demo/perovskites.csv`` and ``references.json`` beside it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from chgnet.model import CHGNet
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Structure

A_SITES = [
    "Li",
    "Na",
    "K",
    "Rb",
    "Cs",
    "Mg",
    "Ca",
    "Sr",
    "Ba",
    "Y",
    "La",
    "Ce",
    "Nd",
    "Gd",
    "Pb",
    "Bi",
    "Tl",
    "Ag",
]
B_SITES = [
    "Sc",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Zr",
    "Nb",
    "Mo",
    "Ru",
    "Rh",
    "Hf",
    "Ta",
    "W",
    "Ir",
    "Al",
    "Ga",
    "In",
    "Ge",
    "Sn",
]
X_SITES = ["O", "F", "N", "S"]
MOLECULES = {"O", "F", "N"}
BOX = 12.0  # Angstrom
ISOLATED = 5.9  # CHGNet has no energy for atoms without a neighbour within 6 Angstrom
SCAN = np.linspace(0.88, 1.16, 8)
FOLDER = Path(__file__).resolve().parents[1] / "pyg_crysdiff" / "data" / "demo"


def perovskite(a_site: str, b_site: str, x_site: str, a: float) -> Structure:
    """Cubic perovskite, A at the corner, B at the centre, X on the faces."""
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [a_site, b_site, x_site, x_site, x_site], frac)


def prototypes(element: str) -> dict[str, Structure]:
    """Simple crystals of one element at a volume near that of touching atoms."""
    r = float(Element(element).atomic_radius or 1.4)
    e = [element]
    found = {
        "fcc": Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(2.83 * r), e, [[0, 0, 0]]
        ).get_primitive_structure(),
        "bcc": Structure.from_spacegroup(
            "Im-3m", Lattice.cubic(2.31 * r), e, [[0, 0, 0]]
        ).get_primitive_structure(),
        "hcp": Structure(
            Lattice.hexagonal(2 * r, 3.27 * r), 2 * e, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
        ),
        "sc": Structure(Lattice.cubic(2.1 * r), e, [[0, 0, 0]]),
        "diamond": Structure.from_spacegroup(
            "Fd-3m", Lattice.cubic(4.62 * r), e, [[0, 0, 0]]
        ).get_primitive_structure(),
    }
    if element in MOLECULES:
        box = Lattice.cubic(BOX)
        bond = [[0, 0, 0], [0, 0, 2 * r]]
        found["dimer in a box"] = Structure(box, 2 * e, bond, coords_are_cartesian=True)
    return found


def scaled(structure: Structure, factor: float) -> Structure:
    """Scale all distances; of a dimer, the bond and not the box."""
    if structure.lattice.a == BOX:
        return Structure(
            structure.lattice,
            structure.species,
            structure.cart_coords * factor,
            coords_are_cartesian=True,
        )
    out = structure.copy()
    out.scale_lattice(structure.volume * factor**3)
    return out


def energies(model: CHGNet, structures: list[Structure]) -> NDArray[np.float64]:
    """CHGNet energies per atom, eV; infinite where an atom stands alone."""
    out = np.full(len(structures), np.inf)
    bound = [i for i, s in enumerate(structures) if _is_bound(s)]
    for first in range(0, len(bound), 256):
        part = bound[first : first + 256]
        found = model.predict_structure([structures[i] for i in part], task="e", batch_size=64)
        out[part] = [float(p["e"]) for p in found]
        print(f"\r{first + len(part)} of {len(bound)} energies", end="", flush=True)
    print()
    return out


def _is_bound(structure: Structure) -> bool:
    centres = structure.get_neighbor_list(ISOLATED)[0]
    return len(set(centres)) == len(structure)


def scan_minimum(model: CHGNet, starts: list[Structure]) -> tuple[NDArray, NDArray]:
    """Return scale factors and energies per atom at the minimum of a two-stage scan."""
    coarse = energies(model, [scaled(s, f) for s in starts for f in SCAN]).reshape(-1, len(SCAN))
    best = SCAN[coarse.argmin(1)]
    offsets = np.array([-0.03, -0.015, 0.0, 0.015, 0.03])
    factors = best[:, None] * (1 + offsets)
    fine = energies(
        model, [scaled(s, f) for s, row in zip(starts, factors, strict=True) for f in row]
    ).reshape(-1, len(offsets))
    scale, energy = best.copy(), fine.min(1)
    for i, values in enumerate(fine):
        known = np.isfinite(values)
        if known.sum() < 4:
            continue
        curve = np.polynomial.Polynomial.fit(factors[i][known], values[known], 3)
        grid = np.linspace(factors[i][known][0], factors[i][known][-1], 2001)
        scale[i] = grid[curve(grid).argmin()]
        energy[i] = curve(grid).min()
    return scale, energy


def start_parameter(a_site: str, b_site: str, x_site: str) -> float:
    """Cell parameter from touching spheres: the larger of B-X and A-X contact."""
    radius = {"O": 1.4, "F": 1.33, "N": 1.46, "S": 1.84}[x_site]
    r_a, r_b = (float(Element(s).average_ionic_radius) or 1.0 for s in (a_site, b_site))
    return max(2 * (r_b + radius), np.sqrt(2) * (r_a + radius)) * 0.99


def references(model: CHGNet, elements: list[str]) -> dict[str, dict[str, object]]:
    """Lowest energy per atom of each element over the prototypes."""
    labelled = [(e, name, s) for e in elements for name, s in prototypes(e).items()]
    scale, energy = scan_minimum(model, [s for _, _, s in labelled])
    best: dict[str, dict[str, object]] = {}
    for (element, name, _), value, factor in zip(labelled, energy, scale, strict=True):
        if element not in best or value < best[element]["energy_per_atom"]:
            best[element] = {
                "prototype": name,
                "energy_per_atom": round(float(value), 5),
                "scale": round(float(factor), 4),
            }
    return best


def main() -> None:
    """Run the scan and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    model = CHGNet.load(use_device="cpu", verbose=False)
    elements = sorted({*A_SITES, *B_SITES, *X_SITES})
    reference = references(model, elements)
    triples = list(product(A_SITES, B_SITES, X_SITES))
    starts = [perovskite(*t, start_parameter(*t)) for t in triples]
    scale, energy = scan_minimum(model, starts)
    rows = []
    for i, (a, b, x) in enumerate(triples):
        parts = [reference[e]["energy_per_atom"] for e in (a, b, x, x, x)]
        rows.append(
            {
                "material_id": f"demo-{i:04d}",
                "formula": f"{a}{b}{x}3",
                "a": round(float(starts[i].lattice.a * scale[i]), 4),
                "formation_energy_per_atom": round(float(energy[i] - np.mean(parts)), 5),
            }
        )
    table = pd.DataFrame(rows)
    order = np.random.default_rng(args.seed).permutation(len(table))
    split = np.array(["test"] * len(table), dtype=object)
    split[order[: int(0.45 * len(table))]] = "train"
    split[order[int(0.45 * len(table)) : int(0.5 * len(table))]] = "val"
    table["split"] = split
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / "perovskites.csv", index=False)
    (args.out / "references.json").write_text(json.dumps(reference, indent=1) + "\n")
    print(table.describe())


if __name__ == "__main__":
    main()
