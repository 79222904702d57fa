"""What the results of a command are measured against: crystals, judge, limits."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pyg_crysdiff.cli.data_options import data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.samples import read_references
from pyg_crysdiff.storage import user_path


def part_or_file(name: str | None, part: str, args: argparse.Namespace) -> tuple[list[Any], Any]:
    """Crystals of a data set's part and the set, or of any readable file as a whole."""
    if name is None:
        return [], None
    dataset = None
    if not user_path(name).is_file():  # a file is read without PyG
        from pyg_crysdiff.data.parts import open_part  # noqa: PLC0415  (imports PyG)

        dataset = open_part(name, part, **data_options(args))
    if dataset is None:
        return read_references(name), None
    return dataset.crystals(), dataset


def published_set(sets: Sequence[Any]) -> Any:
    """Return the first data set that has a name of its own; None where there is none."""
    if all(one is None for one in sets):
        return None
    from pyg_crysdiff.data import DATASETS  # noqa: PLC0415  (imports PyG)

    return next((s for s in sets if isinstance(s, tuple(DATASETS.values()))), None)


def split_of(sets: Sequence[Any]) -> str:
    """Return how the first data set was split; empty where there is none."""
    return next((str(s.split_description) for s in sets if s is not None), "")


def named_evaluator(chosen: str | None, named: Any) -> Any:
    """Return the evaluator that was named; None for none."""
    if chosen is None:
        return None
    from pyg_crysdiff.property.judges import find_evaluator  # noqa: PLC0415  (PyG)

    evaluator = find_evaluator(chosen, named)
    name = evaluator.property_name
    if named is not None and name not in named.property_names:
        raise ValueError(
            f"the evaluator {chosen} predicts {name!r}, which {named.display_name} does not have "
            f"({', '.join(named.property_names)}); name one of this data set (--evaluator cdvae), "
            "or train one with crysdiff train-evaluator"
        )
    return evaluator


def judge_card(evaluator: Any, reference: Sequence[Any]) -> dict[str, Any]:
    """Return the evaluator's card, with its error on reference crystals of known value."""
    from pyg_crysdiff.evaluation.predictor import describe_predictor  # noqa: PLC0415
    from pyg_crysdiff.property.judges import measured_card  # noqa: PLC0415  (PyG)

    card: dict[str, Any] = measured_card(evaluator, reference)
    say(f"evaluator of {evaluator.property_name}: {describe_predictor(card)}")
    return card


def published_limits(named: Any, evaluator: Any) -> tuple[float, float, float] | None:
    """Return the published limits of the success rates, where they are of the same property."""
    if named is None or (evaluator and evaluator.property_name != named.property_name):
        return None
    limits: tuple[float, float, float] | None = named.success_thresholds
    return limits
