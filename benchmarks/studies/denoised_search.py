"""How often does StructRepDiff's search find the true crystal from a denoised representation?

    python benchmarks/studies/denoised_search.py RUN/last.ckpt --dataset mp20 --data-root DATA \
        --search cell_tolerance=0.03,freedom_penalty=0 --search cell_tolerance=0.15

Representations of validation crystals are noised up to a part of the way and denoised again by a
trained network. What comes back has the errors that generated representations have, and here the
true crystal is known. Each row searches the same representations with other settings; the first
has those of the checkpoint. Rates are shares of all crystals, those with another formula too;
``representation_noise.py`` says what the columns are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import yaml
from representation_noise import in_words, reconstructed
from torch_geometric.data import Batch

from pyg_crysdiff.data import DATASETS, load_dataset
from pyg_crysdiff.diffusion import RowNoise, Sampler
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.structrepdiff import StructRepDiff
from pyg_crysdiff.structrepdiff.model import RepresentationState
from pyg_crysdiff.structrepdiff.search import Search


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for every search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("--dataset", default="mp20", choices=[n for n in DATASETS if n != "demo"])
    add("--data-root", type=Path)
    add("--split", default="official", help="official or val-as-train")
    add("--noised", type=float, default=0.2, help="share of the way to noise (default: 0.2)")
    add("--steps", type=int, default=250, help="steps of the whole way (default: 250)")
    add("--crystals", type=int, default=160)
    add("--search", action="append", default=[], metavar="KEY=VALUE,...", help="one row more")
    add("--seed", type=int, default=0)
    add("--json", type=Path)
    args = parser.parse_args(words)
    if not 0 < args.noised <= 1:
        parser.error(f"--noised must be above 0 and at most 1, got {args.noised}")
    model = load_checkpoint(args.checkpoint).model
    if not isinstance(model, StructRepDiff):
        parser.error(f"{args.checkpoint} is not a checkpoint of StructRepDiff")
    searches = {
        changes or "of the checkpoint": changed(model.search, changes)
        for changes in ("", *args.search)
    }
    data = load_dataset(args.dataset, "val", source=args.data_root, scheme=args.split)
    chosen = _chosen(data, set(model.statistics.elements), args)
    state = denoised(model, chosen, args.noised, args.steps, args.seed)
    threshold = DATASETS[args.dataset].coverage_cutoffs["cdvae"][0]
    rows = []
    for name, search in searches.items():
        model.search = search
        rows.append({"search": name, **reconstructed(model, state, chosen, threshold)})
        print(in_words(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _chosen(data: Sequence, known: set[int], args: argparse.Namespace) -> list:
    """Random crystals without elements that the model does not know."""
    order = np.random.default_rng(args.seed).permutation(len(data)).tolist()
    rows = (data[k] for k in order)
    able = (row for row in rows if set(row.atomic_numbers.tolist()) <= known)
    return list(islice(able, args.crystals))


def changed(search: Search, changes: str) -> Search:
    """Return a search with other settings.

    Args:
        search: The search.
        changes: ``KEY=VALUE`` with commas between, values as in YAML.

    Raises:
        ValueError: If a key is unknown, or a value is bad.
    """
    pairs = (part.partition("=") for part in changes.split(",") if part)
    settings = {key.strip(): yaml.safe_load(value) for key, _, value in pairs}
    return Search.from_config({**asdict(search), **settings})


@torch.inference_mode()
def denoised(
    model: StructRepDiff, data: Sequence, share: float, steps: int, seed: int
) -> RepresentationState:
    """Return representations of crystals, noised and denoised again.

    Args:
        model: Trained model.
        data: Crystals.
        share: Part of the way to noise.
        steps: Ancestral steps of the whole way.
        seed: Seed of the noise.
    """
    sampler = Sampler("ancestral", steps)
    times = [t for t in sampler.times(model.num_steps) if t <= share * model.num_steps]
    if len(times) < 2:
        raise ValueError(f"no step of {steps} is within {share} of the way: take more steps")
    seeds = tuple(seed + k for k in range(len(data)))
    noise = RowNoise(seeds)
    clean = model.basis(model.standardise(model.representation(Batch.from_data_list(data))))
    t = torch.full((len(clean),), times[0])
    x = model.process.corrupt(clean, t, noise.normal(model.basis.dim))
    for _, values in model.denoise(x, times, noise, sampler):
        x = values
    return RepresentationState(x, seeds)


if __name__ == "__main__":
    main()
