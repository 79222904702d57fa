"""Builders of the family StructRepDiff: the U-Net over representations and the model around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.nn.transformer import ConditionerFactory
from pyg_crysdiff.structrepdiff.model import StructRepDiff
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.unet import RepresentationUNet


def build_denoiser(
    config: Mapping[str, Any], statistics: DataStatistics, conditioner: ConditionerFactory
) -> RepresentationUNet:
    """Build the network of a configuration."""
    properties = {name: (p.mean, p.std) for name, p in statistics.properties.items()}
    dim = Representation(statistics.elements, **config["descriptor"]).dim
    return RepresentationUNet(dim, properties, conditioner, **config["unet"])


def build_generator(
    config: Mapping[str, Any], statistics: DataStatistics, denoiser: nn.Module
) -> StructRepDiff:
    """Build the model of a configuration around its network."""
    return StructRepDiff(
        cast(RepresentationUNet, denoiser),
        Representation(statistics.elements, **config["descriptor"]),
        statistics,
        Search.from_config(config["reconstruction"]),
        condition_dropout=config["condition_dropout"],
        **config["process"],
    )
