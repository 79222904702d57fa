"""How much noise on a representation does StructRepDiff's way to a crystal survive?

    python benchmarks/studies/representation_noise.py --dataset perov5 --data-root DATA
    python benchmarks/studies/representation_noise.py --dataset carbon24 --data-root DATA \
        --split val-as-train --form "+ sites of the space group" --search dense --errors 0,0.05 \
        --set basis.components=128

A generator returns representations with some error. Here that error is put on those of test
crystals: Gaussian noise on every coordinate of the basis, in units of its spread. No network is
needed. Each row changes one setting; the last one has all of them. "Covered" is the share of
crystals whose structure fingerprint is within CDVAE's threshold of coverage of the true one;
"truth fits" the share whose true coordinates have no larger loss than those found.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import spglib
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import DATASETS, Crystal, load_dataset
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.evaluation.fingerprints import fingerprint_crystals
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.models import build_model
from pyg_crysdiff.structrepdiff import StructRepDiff
from pyg_crysdiff.structrepdiff.model import RepresentationState
from pyg_crysdiff.training import compose_config

_BEFORE = ("basis.kind=entries", "reconstruction.composition_error=0",
           "reconstruction.cell_tolerance=0", "reconstruction.snap=0")  # fmt: skip
FORMS = {
    "single entries, rounded": _BEFORE,
    "+ principal components": _BEFORE[1:],
    "+ the most probable counts": _BEFORE[2:],
    "+ symmetric cells": _BEFORE[3:],
    "+ sites of the space group": (),
}


def main() -> None:
    """Print a row for every form and size of the error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="perov5", choices=[n for n in DATASETS if n != "demo"])
    add("--data-root", type=Path)
    add("--split", default="official", help="official or val-as-train")
    add("--search", default="fast", help="one of configs/reconstruction")
    add("--errors", default="0.1,0.2,0.3")
    add("--compositions", type=int, default=300, help="test crystals of which the formula is read")
    add("--crystals", type=int, default=24, help="those that are reconstructed; 0 for none")
    add("--train", type=int, default=3000, help="training crystals that give the units")
    add("--form", choices=list(FORMS), help="this row alone (default: all)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override of train.yaml")
    add("--seed", type=int, default=0)
    add("--json", type=Path)
    args = parser.parse_args()
    places = {"source": args.data_root, "scheme": args.split}
    args.threshold = DATASETS[args.dataset].coverage_cutoffs["cdvae"][0]
    rng = np.random.default_rng(args.seed)
    train, test = (load_dataset(args.dataset, part, **places) for part in ("train", "test"))
    train = train[rng.permutation(len(train))[: args.train].tolist()]
    known = set(DataStatistics.from_dataset(train).elements)
    chosen = [test[k] for k in rng.permutation(len(test)).tolist()]
    chosen = [d for d in chosen if set(d.atomic_numbers.tolist()) <= known][: args.compositions]
    rows = []
    for name in FORMS if args.form is None else [args.form]:
        model = fitted(train, [f"reconstruction={args.search}", *FORMS[name], *args.set])
        values = model.representation(Batch.from_data_list(chosen))
        for error in (float(e) for e in args.errors.split(",")):
            row = {"form": name, "error": error, **survives(model, values, chosen, error, args)}
            rows.append(row)
            print(in_words(row), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def in_words(row: dict[str, float | str]) -> str:
    """Return a row as a line of text."""
    return "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


def fitted(train: Sequence, changes: Sequence[str]) -> StructRepDiff:
    """Return an untrained model with the units of a training set."""
    config = compose_config(["family=structrepdiff-mlp", "counts=false", *changes])
    model = build_model(config, DataStatistics.from_dataset(train))
    model.prepare(train, train[:1], progress=False)
    return model


def survives(
    model: StructRepDiff,
    values: torch.Tensor,
    truth: Sequence,
    error: float,
    args: argparse.Namespace,
) -> dict[str, float]:
    """Return which part of the truth is still there behind noise of one size."""
    generator = torch.Generator().manual_seed(args.seed)
    clean = model.basis(model.standardise(values))
    noise = torch.randn(clean.shape, generator=generator) * (model.extreme > 0)
    state = RepresentationState(clean + error * noise, tuple(range(len(clean))))
    frames = model.frames(model.representation.parts(model.values(state)))
    right = [sorted(d.atomic_numbers.tolist()) for d in truth]
    got = [frame.atomic_numbers.tolist() for frame in frames]
    out = {
        "formula": float(np.mean([g == r for g, r in zip(got, right, strict=True)])),
        "elements too many": float(
            np.mean([len(set(g)) - len(set(r)) for g, r in zip(got, right, strict=True)])
        ),
    }
    if args.crystals:
        few = RepresentationState(state.values[: args.crystals], state.seeds[: args.crystals])
        out.update(reconstructed(model, few, truth[: args.crystals], args.threshold))
    return out


def reconstructed(
    model: StructRepDiff, state: RepresentationState, data: Sequence, threshold: float
) -> dict[str, float]:
    """Return how near the crystals of a state are to the true ones, and what they cost.

    Args:
        model: Model with the units of the training set.
        state: Representations with their noise.
        data: The true crystals.
        threshold: Largest distance of structure fingerprints that counts as covered.
    """
    start = time.process_time()
    crystals = model.crystals(state)
    seconds = (time.process_time() - start) / len(crystals)
    truth = [Crystal.from_data(d) for d in data]
    rms = np.array(rms_distances(crystals, truth, num_workers=1), dtype=float)
    match = np.isfinite(rms)
    groups = [_group(a, 0.01) == _group(b, 0.1) for a, b in zip(crystals, truth, strict=True)]
    losses = np.array([c.info["reconstruction_loss"] for c in crystals])
    fits = _true_losses(model, state, truth) <= losses + 1e-6
    ours, theirs = (fingerprint_crystals(c, num_workers=1).structure for c in (crystals, truth))
    return {
        "match": float(match.mean()),
        "rms": float(rms[match].mean()) if match.any() else float("nan"),
        "covered": float((np.linalg.norm(ours - theirs, axis=1) < threshold).mean()),
        "space group": float(np.mean(groups)),
        "loss": float(np.median(losses)),
        "truth fits": float(fits.mean()),
        "cpu s per crystal": seconds,
    }


def _true_losses(
    model: StructRepDiff, state: RepresentationState, truth: Sequence[Crystal]
) -> np.ndarray:
    """Losses of the true coordinates in the cells of a state; infinite with another formula."""
    parts = model.representation.parts(model.values(state))
    frames, out = model.frames(parts), np.full(len(truth), np.inf)
    same, places = [], []
    for k, (frame, crystal) in enumerate(zip(frames, truth, strict=True)):
        order = np.argsort(crystal.atomic_numbers, kind="stable")  # as the atoms of frames
        if frame.atomic_numbers.tolist() == crystal.atomic_numbers[order].tolist():
            same.append(k)
            places.append(crystal.frac_coords[order])
    out[same] = model.reconstructor().losses([frames[k] for k in same], places, parts.pooled[same])
    return out


def _group(crystal: Crystal, symprec: float) -> int:
    cell = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return 1 if found is None else int(found.number)


if __name__ == "__main__":
    main()
