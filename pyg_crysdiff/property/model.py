"""The property evaluator: PyG's DimeNet++ on periodic graphs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.nn.models import DimeNetPlusPlus
from torch_geometric.utils import scatter

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.models.pretrained import check_finite, predictor_names
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.progress import bar
from pyg_crysdiff.property.graphs import Edges, bonds, build_graph, neighbours
from pyg_crysdiff.storage import replacing

_MAX_ELEMENT = 94  # rows of DimeNet's embedding table
_MAX_SIZE = 10_000
_UNREADABLE = (
    SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
    RecursionError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class EvaluatorConfig:
    """Size of the network and of its graphs. Defaults: CDVAE's ``prop_models``.

    Attributes:
        hidden_channels: Width.
        num_blocks: Interaction blocks.
        int_emb_size: Width inside the triplet part.
        basis_emb_size: Width of the embedded bases.
        out_emb_channels: Width of the output blocks.
        num_spherical: Angular basis functions.
        num_radial: Radial basis functions.
        cutoff: Radius, Angstrom.
        max_neighbours: Neighbours per atom.
        graph: ``radius``, or ``crystalnn`` for the bonds that CDVAE's own evaluators see.
        output_bias: Bias in the first layer of the output blocks, as CDVAE's own have.
    """

    hidden_channels: int = 128
    num_blocks: int = 4
    int_emb_size: int = 64
    basis_emb_size: int = 8
    out_emb_channels: int = 256
    num_spherical: int = 7
    num_radial: int = 6
    cutoff: float = 7.0
    max_neighbours: int = 20
    graph: str = "radius"
    output_bias: bool = False


PRESETS = {
    "large": EvaluatorConfig(),
    "standard": EvaluatorConfig(
        hidden_channels=96, num_blocks=3, int_emb_size=48, out_emb_channels=128, cutoff=6.0,
        max_neighbours=12,
    ),
    "fast": EvaluatorConfig(
        hidden_channels=64, num_blocks=2, int_emb_size=32, out_emb_channels=64, cutoff=5.0,
        num_spherical=5, max_neighbours=12,
    ),
}  # fmt: skip


def preset_name(name: str) -> str:
    """Return the name of a preset; one under its old name gets a warning.

    Raises:
        ValueError: If there is no such preset.
    """
    if name == "cdvae":  # now CDVAE's own evaluators have this name
        warnings.warn(
            "the preset cdvae of property evaluators is called large now; the old name goes with "
            "the next release",
            DeprecationWarning,
            stacklevel=3,
        )
        return "large"
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r} of evaluators: {', '.join(PRESETS)}")
    return name


class PeriodicDimeNet(DimeNetPlusPlus):
    """DimeNet++ (arXiv 2011.14115) with edges, triplets and angles given; mean over atoms.

    Parameter names are those of PyG's class.

    Args:
        config: Sizes.
    """

    def __init__(self, config: EvaluatorConfig) -> None:
        sizes = asdict(config)
        sizes["max_num_neighbors"] = sizes.pop("max_neighbours")
        if sizes.pop("graph") not in ("radius", "crystalnn"):
            raise ValueError(f"graph must be radius or crystalnn, got {config.graph!r}")
        output_bias = sizes.pop("output_bias")
        super().__init__(out_channels=1, **sizes)
        if output_bias:
            for block in self.output_blocks:
                block.lin_up = torch.nn.Linear(config.hidden_channels, config.out_emb_channels)

    def forward(self, batch: Batch) -> Tensor:
        """Return the standardised property of each crystal, (B,)."""
        j, i = batch.edge_index
        rbf = self.rbf(batch.distance)
        sbf = self.sbf(batch.distance, batch.angle, batch.edge_kj)
        x = self.emb(batch.atomic_numbers, rbf, i, j)
        out = self.output_blocks[0](x, rbf, i, num_nodes=batch.num_nodes)
        for interaction, output in zip(
            self.interaction_blocks, self.output_blocks[1:], strict=True
        ):
            x = interaction(x, rbf, sbf, batch.edge_kj, batch.edge_ji)
            out = out + output(x, rbf, i, num_nodes=batch.num_nodes)
        atoms: Tensor = out.squeeze(1)
        return scatter(atoms, batch.batch, dim_size=batch.num_graphs, reduce="mean")


def _can_predict(crystal: Crystal) -> bool:
    if structural_problem(crystal) is not None:
        return False
    return bool((crystal.atomic_numbers <= _MAX_ELEMENT).all())


class PropertyModel:
    """A trained evaluator of one scalar property.

    Args:
        network: The network.
        config: Its sizes.
        mean: Mean of the training values.
        std: Standard deviation of the training values.
        card: Property name, data set, split, held-out MAE, seed; JSON-able.
    """

    def __init__(
        self,
        network: PeriodicDimeNet,
        config: EvaluatorConfig,
        mean: float,
        std: float,
        card: Mapping[str, Any],
    ) -> None:
        self.network = network.eval()
        self.config, self.mean, self.std, self.card = config, mean, std, dict(card)

    @property
    def property_name(self) -> str:
        """Name of the property."""
        return str(self.card["property"])

    @property
    def identity(self) -> list[Any]:
        """What decides its predictions (:class:`pyg_crysdiff.evaluation.PropertyPredictor`)."""
        return [self.card, self.mean, self.std]

    @torch.inference_mode()
    def predict(
        self,
        crystals: Sequence[Crystal | BrokenEntry],
        *,
        batch_size: int = 64,
        progress: bool = False,
    ) -> NDArray[np.float64]:
        """Predict the property of each crystal.

        Args:
            crystals: Crystals; broken or structurally invalid ones give NaN.
            batch_size: Crystals per batch.
            progress: Show a progress bar.

        Returns:
            Values of shape (M,).
        """
        out = np.full(len(crystals), np.nan)
        usable = {
            i: c for i, c in enumerate(crystals) if isinstance(c, Crystal) and _can_predict(c)
        }
        edges = self._edges(list(usable.values()), progress)
        known = [i for i, found in zip(usable, edges, strict=True) if found is not None]
        found = [e for e in edges if e is not None]
        device = next(self.network.parameters()).device
        starts = range(0, len(known), batch_size)
        for start in bar(starts, label="predicting", show=progress):
            part = known[start : start + batch_size]
            graphs = [
                build_graph(usable[i], e, self.config.graph == "crystalnn")
                for i, e in zip(part, found[start : start + batch_size], strict=True)
            ]
            values = self.network(Batch.from_data_list(graphs).to(device))
            out[part] = values.cpu().double().numpy() * self.std + self.mean
        return out

    def _edges(self, crystals: Sequence[Crystal], progress: bool) -> list[Edges | None]:
        if self.config.graph == "crystalnn":
            return parallel_map(bonds, crystals, progress=progress, label="bonds")
        work = partial(
            neighbours, cutoff=self.config.cutoff, max_neighbours=self.config.max_neighbours
        )
        return [work(c) for c in crystals]

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write weights, in half precision if asked for, and facts to one safetensors file."""
        facts = {
            "config": asdict(self.config), "mean": self.mean, "std": self.std, "card": self.card
        }  # fmt: skip
        weights = {
            k: (v.half() if half and v.is_floating_point() else v).contiguous().cpu()
            for k, v in self.network.state_dict().items()
        }
        with replacing(path) as temporary:
            save_file(weights, temporary, metadata={"property_model": json.dumps(facts)})

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or not an evaluator.
        """
        path = Path(path)
        if not path.is_file():
            names = ", ".join(predictor_names()) or "none"
            raise FileNotFoundError(
                f"no property evaluator at {path}; with the package come: {names}"
            )
        try:
            with safe_open(path, framework="pt") as handle:
                facts = json.loads((handle.metadata() or {})["property_model"])
                weights = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            config = EvaluatorConfig(**facts["config"])
            mean, std, card = float(facts["mean"]), float(facts["std"]), facts["card"]
            network = _network(config)
            network.load_state_dict(weights)
        except _UNREADABLE as error:
            raise ValueError(
                f"{path} is damaged or not a property evaluator ({first_line(error):.200})"
            ) from error
        check_finite({**weights, "mean, std": torch.tensor([mean, std])}, path)
        return cls(network.to(device), config, mean, std, card)


def _network(config: EvaluatorConfig) -> PeriodicDimeNet:
    """Build the network of a file, whose sizes are anybody's."""
    sizes = [v for v in asdict(config).values() if isinstance(v, int | float)]
    if not all(0 <= size <= _MAX_SIZE for size in sizes):
        raise ValueError(f"no network has the sizes {sizes}")
    return PeriodicDimeNet(config)
