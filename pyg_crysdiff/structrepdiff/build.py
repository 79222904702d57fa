"""Builders of the family StructRepDiff: the network over representations, the model around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.nn.transformer import ConditionerFactory
from pyg_crysdiff.structrepdiff.basis import build_basis
from pyg_crysdiff.structrepdiff.counts import CountPosterior
from pyg_crysdiff.structrepdiff.mlp import RepresentationMLP
from pyg_crysdiff.structrepdiff.model import Denoiser, StructRepDiff
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.unet import RepresentationUNet

# A configuration without the key is of a checkpoint from before there was a choice.
_NETWORKS: dict[str, Any] = {"unet": RepresentationUNet, "mlp": RepresentationMLP}
_POTENTIALS = ("potentials+sums", "potentials")


def build_denoiser(
    config: Mapping[str, Any], statistics: DataStatistics, conditioner: ConditionerFactory
) -> Denoiser:
    """Build the network of a configuration.

    Raises:
        ValueError: If the network or the basis is unknown.
    """
    properties = {name: (p.mean, p.std) for name, p in statistics.properties.items()}
    kind = config.get("network", "unet")
    if kind not in _NETWORKS:
        raise ValueError(f"unknown network {kind!r}; choose from {list(_NETWORKS)}")
    widths = Representation(statistics.elements, **config["descriptor"]).widths
    dim = build_basis(widths, config.get("basis")).dim
    more = {}
    kind_of_counts = _counts(config)
    if kind_of_counts:
        more["hints"] = len(statistics.elements)
        if kind_of_counts != "corrected":
            posterior = _posterior(statistics)
            more["outputs"] = posterior.prior[:, 1:].numel()
            if kind_of_counts == "potentials+sums":
                more["outputs"] += posterior.sums.numel()
    network: Denoiser = _NETWORKS[kind](dim, properties, conditioner, **config[kind], **more)
    return network


def build_generator(
    config: Mapping[str, Any], statistics: DataStatistics, denoiser: nn.Module
) -> StructRepDiff:
    """Build the model of a configuration around its network."""
    counts, process = _counts(config), dict(config["process"])
    weights = process.get("part_weights")
    if weights == "auto":
        # With potentials the composition has its loss in nats per crystal.
        process["part_weights"] = (1.0, 0.1 if counts in _POTENTIALS else 4.0, 1.0)
    elif isinstance(weights, str):
        raise ValueError(f"part_weights must be auto, null or three numbers, got {weights!r}")
    representation = Representation(
        statistics.elements, **config["descriptor"], counts=counts is not None
    )
    return StructRepDiff(
        cast(Denoiser, denoiser),
        representation,
        statistics,
        Search.from_config(config["reconstruction"]),
        condition_dropout=config["condition_dropout"],
        basis=build_basis(representation.widths, config.get("basis")),
        counts=_posterior(statistics) if counts else None,
        potentials=counts in _POTENTIALS,
        sum_potentials=counts == "potentials+sums",
        **process,
    )


def _counts(config: Mapping[str, Any]) -> str | None:
    """How the network and whole counts of atoms go together; None where there are fractions."""
    # Checkpoints from before there was a choice have no key, or true for what is "corrected" now.
    kind = config.get("counts", False)
    if kind is False:
        return None
    kind = "corrected" if kind is True else kind
    if kind not in (*_POTENTIALS, "corrected"):
        possible = ", ".join([*_POTENTIALS, "corrected"])
        raise ValueError(f"counts must be {possible} or false, got {kind!r}")
    if config.get("network") != "mlp" or (config.get("basis") or {}).get("kind") != "principal":
        raise ValueError(f"counts={kind} needs network=mlp and basis.kind=principal; or set "
                         "counts=false")  # fmt: skip
    return kind


def _posterior(statistics: DataStatistics) -> CountPosterior:
    most = max(int(row.split()[0]) for row in statistics.counts)  # in descending order
    kinds = max(len(row.split()) for row in statistics.counts)
    return CountPosterior(len(statistics.elements), most, max(statistics.num_atoms), kinds)
