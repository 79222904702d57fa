"""From a plain configuration and data statistics to a model of any family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from torch import nn

from pyg_crysdiff._renamed import moved
from pyg_crysdiff.configuration import resolve_class
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.nn.conditioning import Conditioner
from pyg_crysdiff.nn.transformer import ConditionerFactory

PACKAGE = "pyg_crysdiff"
# Family to the module that builds it; imported when a model of the family is asked for.
FAMILIES = {
    "joint": "pyg_crysdiff.models.joint",
    "structrepdiff": "pyg_crysdiff.structrepdiff.build",
}


class Family(Protocol):
    """What the module of a family has: builders of its network and of its model."""

    def build_denoiser(
        self,
        config: Mapping[str, Any],
        statistics: DataStatistics,
        conditioner: ConditionerFactory,
    ) -> nn.Module:
        """Build the network alone."""
        ...

    def build_generator(
        self, config: Mapping[str, Any], statistics: DataStatistics, denoiser: nn.Module
    ) -> Generator:
        """Build the model around its network."""
        ...


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


def build_model(
    config: Mapping[str, Any],
    statistics: DataStatistics,
    trusted: Sequence[str] = (PACKAGE,),
) -> Generator:
    """Build a model from a configuration as in ``configs/train.yaml``, as plain containers.

    Args:
        config: As composed; ``model`` tells the family, see :data:`FAMILIES`.
        statistics: Statistics of the training set; its properties are the conditions.
        trusted: See :func:`resolve_conditioner`.

    Raises:
        ValueError: If the family is unknown or a setting is bad.
    """
    denoiser = build_denoiser(config, statistics, trusted)
    return _family(config).build_generator(config, statistics, denoiser)


def build_denoiser(
    config: Mapping[str, Any],
    statistics: DataStatistics,
    trusted: Sequence[str] = (PACKAGE,),
) -> nn.Module:
    """Build the network alone; arguments and errors of :func:`build_model`."""
    return _family(config).build_denoiser(config, statistics, _conditioner(config, trusted))


def _conditioner(config: Mapping[str, Any], trusted: Sequence[str]) -> ConditionerFactory:
    """Return what builds the conditioner of a configuration, with its options."""
    options = dict(config["conditioner"])
    cls = resolve_conditioner(options.pop("_target_"), trusted)

    def build(**sizes: Any) -> Conditioner:
        try:
            return cls(**{**options, **sizes})
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise ValueError(f"conditioner {cls.__name__}: {error}") from error

    return build


def _family(config: Mapping[str, Any]) -> Family:
    name = config.get("model", "joint")
    if name not in FAMILIES:
        raise ValueError(f"unknown model {name!r}; choose from {list(FAMILIES)}")
    return cast(Family, import_module(FAMILIES[name]))


def __getattr__(name: str) -> Any:
    return moved(__name__, {"build_process": "pyg_crysdiff.models.joint.build_process"}, name)
