"""Builders of the joint family: the crystal Transformer and the process over all three fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.species import GivenSpecies, UniformD3PM
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion, lattice_unit
from pyg_crysdiff.nn.transformer import ConditionerFactory, CrystalTransformer


def build_process(config: Mapping[str, Any], statistics: DataStatistics) -> JointDiffusion:
    """Build the joint process of a ``process`` configuration (see ``configs/train.yaml``)."""
    lattice = dict(config["lattice"])
    scale, per_atom = lattice_unit(statistics, lattice.pop("units"))
    longest = statistics.max_length_per_atom if per_atom else statistics.max_length
    narrowest = statistics.min_width_per_atom if per_atom else statistics.min_width
    margin = lattice.pop("length_margin")
    bounds: dict[str, float] = {}
    if margin is not None:
        bounds = {"max_length": margin * longest / scale, "min_width": narrowest / margin / scale}
    steps, classes = config["num_steps"], len(statistics.elements)
    species = dict(config["species"])
    given = species.pop("given", False)  # older checkpoints do not say
    return JointDiffusion(
        lattice=LatticeDDPM(num_steps=steps, **bounds, **lattice),
        coordinates=WrappedNormalDiffusion(num_steps=steps, **config["coordinates"]),
        species=GivenSpecies(classes, steps) if given else UniformD3PM(classes, steps, **species),
        loss_weights=config["loss_weights"],
        middle_times=config.get("middle_times", 0.0),  # older checkpoints do not say
    )


def build_denoiser(
    config: Mapping[str, Any], statistics: DataStatistics, conditioner: ConditionerFactory
) -> CrystalTransformer:
    """Build the network of a configuration."""
    return CrystalTransformer(
        num_species=len(statistics.elements),
        properties={name: (p.mean, p.std) for name, p in statistics.properties.items()},
        conditioner=conditioner,
        **config["denoiser"],
    )


def build_generator(
    config: Mapping[str, Any], statistics: DataStatistics, denoiser: nn.Module
) -> CrystalDiffusion:
    """Build the model of a configuration around its network."""
    return CrystalDiffusion(
        cast(CrystalTransformer, denoiser),
        build_process(config["process"], statistics),
        statistics,
        lattice_units=config["process"]["lattice"]["units"],
        condition_dropout=config["condition_dropout"],
    )
