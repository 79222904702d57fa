"""The training and validation sets of a run: opened as configured, or handed over in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from pyg_crysdiff.configuration import resolve_class
from pyg_crysdiff.data import CrystalDataset, load_dataset
from pyg_crysdiff.data.properties import describe_use
from pyg_crysdiff.data.statistics import atomic_numbers_of
from pyg_crysdiff.models.build import PACKAGE
from pyg_crysdiff.training.run_folder import IN_MEMORY

log = logging.getLogger(__name__)
Sets = tuple[CrystalDataset, CrystalDataset | None]


def load_data(
    options: Mapping[str, Any], trusted: Sequence[str] = (PACKAGE,)
) -> tuple[CrystalDataset, CrystalDataset]:
    """Open the training and validation sets of a ``data`` configuration.

    Args:
        options: ``name`` of a data set or path of own files, or ``_target_`` with the dotted path
            of a data set class of one's own; besides, arguments of the class.
        trusted: Top-level packages from which such a class may come.

    Returns:
        Both sets; validation may be empty.

    Raises:
        ValueError: If the class is not trusted, or the data were in memory.
    """
    if IN_MEMORY in options:
        raise ValueError(
            "the run was trained on data in memory, which its folder does not hold; pass the same "
            "data again: data=(train, val)"
        )
    options = {key: value for key, value in options.items() if value is not None}
    if target := options.pop("_target_", None):
        own = resolve_class(target, CrystalDataset, trusted)
        return own(split="train", **options), own(split="val", **options)
    name = options.pop("name")
    return load_dataset(name, "train", **options), load_dataset(name, "val", **options)


def given_pair(data: Sets) -> tuple[CrystalDataset, CrystalDataset]:
    """Return training and validation set as they were handed over; None becomes an empty set.

    Raises:
        TypeError: If they are no such pair of data sets.
    """
    try:
        train, val = data
    except (TypeError, ValueError) as error:
        raise TypeError("data must be a pair: data=(train, val), where val may be None") from error
    for part in (train, val):
        if not isinstance(part, CrystalDataset | None) or train is None:
            raise TypeError(
                f"data must hold data sets, not {type(part).__name__}; "
                "CrystalDataset.from_crystals makes one of crystals"
            )
    if val is None:
        empty = train.index_select([])
        assert isinstance(empty, CrystalDataset)
        val = empty
    return train, val


def of_known_elements(val: CrystalDataset, elements: Tensor) -> CrystalDataset:
    """Leave out validation crystals with elements that a model does not know: they have no loss.

    A warning says how many, and which elements.

    Args:
        val: Validation set; may be empty.
        elements: Atomic numbers that the model knows, (K,).
    """
    known = elements.cpu()
    if len(val) == 0 or bool(torch.isin(atomic_numbers_of(val), known).all()):
        return val
    strange = [set(data.atomic_numbers.tolist()) - set(known.tolist()) for data in val]
    kept = [k for k, found in enumerate(strange) if not found]
    log.warning(
        "%d of %d validation crystals are left out: elements %s (atomic numbers) do not occur in "
        "the training set", len(val) - len(kept), len(val), sorted(set().union(*strange)),
    )  # fmt: skip
    left = val.index_select(kept)
    assert isinstance(left, CrystalDataset)
    return left


def named(train: CrystalDataset, val: CrystalDataset) -> dict[str, Any]:
    """Return the ``data`` configuration that stands for two data sets in the record of a run.

    Whole sets that :func:`pyg_crysdiff.data.load_dataset` has opened can be opened again by their
    name; of others the record says that they were in memory.
    """
    origin = train.origin
    whole = [(part.split, part._indices) for part in (train, val)] if origin else []
    if origin == val.origin and whole == [("train", None), ("val", None)]:
        with suppress(TypeError, ValueError):  # options that are objects
            return dict(json.loads(json.dumps(origin)))
    return {IN_MEMORY: train.display_name}


def conditions(
    train: CrystalDataset, val: CrystalDataset, properties: Sequence[str] | str | None
) -> list[str]:
    """Return the names of the conditioning properties, which are also said in one line.

    Args:
        train: Training set.
        val: Validation set; may be empty.
        properties: Names; ``auto`` for the training set's own targets.

    Raises:
        ValueError: If one is not in the training set, or not in a validation set that has crystals.
    """
    wanted = _wanted(properties, train.targets)
    missing = [p for p in wanted if p not in train.property_names]
    if missing:
        raise ValueError(
            f"no properties {missing} in {train.display_name}; it has {train.property_names} "
            "(several are written properties=[one,two])"
        )
    lacking = [p for p in wanted if p not in val.property_names]
    if len(val) and lacking:
        raise ValueError(f"the validation set of {train.display_name} has no properties {lacking}")
    rank_zero_info(describe_use(train, wanted, "conditioned on", "their condition is hidden"))
    if len(val) == 0:
        rank_zero_info("no validation: its part of the data is empty")
    return wanted


def _wanted(properties: Sequence[str] | str | None, targets: Sequence[str]) -> list[str]:
    if properties == "auto":
        return list(targets)
    named = [properties] if isinstance(properties, str) else properties or []
    return list(dict.fromkeys(str(name) for name in named))
