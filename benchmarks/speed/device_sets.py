"""Crystals for benchmarks/gpu.py: those of the three sets, or made-up ones of the same sizes."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from throughput_scaling import made_up
from torch_geometric.data import Data

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.models.pretrained import pretrained_cards

_CRYSTALS = 4096  # enough for batches that differ


class OfSet(NamedTuple):
    """What is known of a set without its files, from the shipped model that was trained on it.

    Attributes:
        num_atoms: Numbers of atoms with their weights.
        crystals_seen: Crystals that the training of the model saw.
    """

    num_atoms: dict[int, int]
    crystals_seen: int


def _of(model: str) -> OfSet:
    card = pretrained_cards()[model]
    sizes = {int(n): count for n, count in card["statistics"]["num_atoms"].items()}
    return OfSet(sizes, card["card"]["crystals_seen"])


SETS = {
    data: _of(model)
    for data, model in (
        ("perov5", "perov5-cds"),
        ("carbon24", "carbon24-cds"),
        ("mp20", "mp20-cdi"),
    )
}


def drawn_sizes(data: str, count: int) -> list[int]:
    """Draw numbers of atoms as a set has them."""
    sizes, weights = zip(*SETS[data].num_atoms.items(), strict=True)
    shares = np.array(weights) / sum(weights)
    drawn: list[int] = np.random.default_rng(0).choice(sizes, count, p=shares).tolist()
    return drawn


def crystals_of(data: str, args: argparse.Namespace) -> list[Data]:
    """Return crystals of a set's validation split, or made-up ones of its sizes."""
    most = 2 * args.batch if args.tiny else _CRYSTALS
    if args.data_root is None:
        return made_up(drawn_sizes(data, most))
    found = load_dataset(data, "val", source=args.data_root, scheme=args.split)
    return [found[k] for k in range(min(most, len(found)))]
