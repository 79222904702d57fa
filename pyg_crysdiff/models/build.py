"""From a plain configuration and data statistics to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pyg_crysdiff.configuration import resolve_class
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.species import GivenSpecies, UniformD3PM
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion, lattice_unit
from pyg_crysdiff.nn.conditioning import Conditioner
from pyg_crysdiff.nn.transformer import CrystalTransformer
from pyg_crysdiff.structrepdiff.model import StructRepDiff
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.unet import RepresentationUNet

Generator = CrystalDiffusion | StructRepDiff
PACKAGE = "pyg_crysdiff"


def resolve_conditioner(target: str, trusted: Sequence[str] = (PACKAGE,)) -> type[Conditioner]:
    """Find the class that a configuration names, without importing what is not trusted.

    See :func:`pyg_crysdiff.configuration.resolve_class`.

    Args:
        target: Dotted path of the class.
        trusted: Top-level packages whose modules may be imported.

    Raises:
        ValueError: If the package is not trusted, the class does not exist, or it is not a
            conditioner.
    """
    return resolve_class(target, Conditioner, trusted)


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
    )


def build_model(
    config: Mapping[str, Any],
    statistics: DataStatistics,
    trusted: Sequence[str] = (PACKAGE,),
) -> Generator:
    """Build a model from a configuration as in ``configs/train.yaml``, as plain containers.

    Args:
        config: As composed; ``model`` tells the family.
        statistics: Statistics of the training set; its properties are the conditions.
        trusted: See :func:`resolve_conditioner`.

    Raises:
        ValueError: If the family is unknown or a setting is bad.
    """
    denoiser = build_denoiser(config, statistics, trusted)
    if isinstance(denoiser, RepresentationUNet):
        return StructRepDiff(
            denoiser,
            Representation(statistics.elements, **config["descriptor"]),
            statistics,
            Search.from_config(config["reconstruction"]),
            condition_dropout=config["condition_dropout"],
            **config["process"],
        )
    return CrystalDiffusion(
        denoiser,
        build_process(config["process"], statistics),
        statistics,
        lattice_units=config["process"]["lattice"]["units"],
        condition_dropout=config["condition_dropout"],
    )


def build_denoiser(
    config: Mapping[str, Any],
    statistics: DataStatistics,
    trusted: Sequence[str] = (PACKAGE,),
) -> CrystalTransformer | RepresentationUNet:
    """Build the network alone; arguments and errors of :func:`build_model`."""
    options = dict(config["conditioner"])
    conditioner = partial(resolve_conditioner(options.pop("_target_"), trusted), **options)
    properties = {name: (p.mean, p.std) for name, p in statistics.properties.items()}
    family = config.get("model", "joint")
    if family == "joint":
        return CrystalTransformer(
            num_species=len(statistics.elements),
            properties=properties,
            conditioner=conditioner,
            **config["denoiser"],
        )
    if family == "structrepdiff":
        dim = Representation(statistics.elements, **config["descriptor"]).dim
        return RepresentationUNet(dim, properties, conditioner, **config["unet"])
    raise ValueError(f"unknown model {family!r}; choose from ['joint', 'structrepdiff']")
