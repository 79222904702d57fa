"""Starting a training from the weights of a model that was trained before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import PACKAGE, build_model
from pyg_crysdiff.models.checkpoint import LoadedModel, load_checkpoint
from pyg_crysdiff.models.generator import Generator

_CONDITIONAL = ("conditioner", "condition_embedding")


def new_model(
    config: Mapping[str, Any], statistics: DataStatistics, trusted: Sequence[str] = (PACKAGE,)
) -> tuple[Generator, LoadedModel | None]:
    """Build the model of a run, with the weights of ``config["init"]`` where that names one.

    The new model takes over the elements and the units of length of the old one. Elements that
    the old one does not know are added; their part of the weights begins anew. Conditioner and
    condition vector are taken over where conditioner and properties are the same, and begin anew
    where they are others, so that a model can be fine-tuned to another property.

    Args:
        config: Configuration of the run; ``init`` is a checkpoint's file, the name of one that
            comes with the package, or None.
        statistics: Statistics of the new training set.
        trusted: Packages from which conditioners may come.

    Returns:
        The model and the checkpoint that it starts from.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the denoisers are of different shape.
    """
    if config.get("init") is None:
        return build_model(config, statistics, trusted), None
    old = load_checkpoint(config["init"], trusted=trusted)
    joined = statistics.in_units_of(old.model.statistics, new_elements=True)
    model = build_model(config, joined, trusted)
    same = (
        old.config["conditioner"] == config["conditioner"]
        and old.model.properties == model.properties
    )
    skipped = () if same else _CONDITIONAL
    _take_over(model, old, skipped)
    return model, old


def _take_over(model: Generator, old: LoadedModel, skipped: Sequence[str]) -> None:
    """Copy all weights but those of modules whose name is skipped."""

    def shared(module: nn.Module) -> dict[str, Any]:
        weights = module.state_dict()
        return {k: v for k, v in weights.items() if not set(k.split(".")) & set(skipped)}

    theirs, ours = shared(old.model), shared(model)
    fitted = {
        name: _with_new_elements(value, ours[name], old.model.statistics, model.statistics)
        for name, value in theirs.items()
        if name in ours
    }
    different = sorted(
        name
        for name in theirs.keys() | ours.keys()
        if name not in fitted or fitted[name].shape != ours[name].shape
    )
    if different:
        network = old.config.get("network", "unet")
        raise ValueError(
            f"the model does not fit init={old.path}: {len(different)} weights differ, "
            f"{different[0]} first; set the same family, denoiser and process as in its "
            f"configuration: {old.config.get('denoiser', old.config.get(network))}"
        )
    model.load_state_dict(fitted, strict=False)


def _with_new_elements(
    theirs: Tensor, ours: Tensor, old: DataStatistics, new: DataStatistics
) -> Tensor:
    """Return an old weight with the places of elements that only the new model knows.

    Such a weight has one axis that counts elements; the new places keep their first values. Other
    weights are returned as they are.
    """
    if theirs.dim() != ours.dim():
        return theirs
    axes = [i for i in range(ours.dim()) if theirs.shape[i] != ours.shape[i]]
    if [(theirs.shape[i], ours.shape[i]) for i in axes] != [(len(old.elements), len(new.elements))]:
        return theirs
    places = [new.elements.index(element) for element in old.elements]
    return ours.index_copy(axes[0], torch.tensor(places, device=ours.device), theirs.to(ours))
