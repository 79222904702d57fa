"""Settings of a benchmark run: ``configs/benchmark.yaml`` and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.benchmark.names import check_names
from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.data import DATASETS, CrystalDataset, load_dataset
from pyg_crysdiff.diffusion.sampler import Sampler, Solver
from pyg_crysdiff.diffusion.schedules import Spacing
from pyg_crysdiff.overrides import text_override


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a benchmark run.

    Attributes:
        dataset: Name of a data set, or path of a user's own.
        out: Output folder; an interrupted run goes on from what it holds.
        data_root: Folder that already holds the files of a published set.
        split: ``official`` or ``val-as-train``.
        models: Conditioners to train and sample; with ``structrepdiff-`` before them, of that
            family.
        samples: Method name to sample file of another model.
        checkpoints: Name to checkpoint, sampled without training.
        baselines: Peer's name to a sample file, an output folder, or a checkout to train.
        baseline_steps: Langevin steps per noise level of peers that are run live.
        properties: Property columns of an own data set.
        budget_minutes: Training time per model.
        num_samples: Crystals per row.
        steps: Reverse steps.
        corrector_steps: Corrector moves per step.
        renewal: Share of the noise that such a move replaces; 0 for Langevin.
        solver: ``ancestral``, ``renewing`` or ``flow``; see :func:`pyg_crysdiff.sampling.sample`.
        spacing: Times of the steps, ``uniform``, ``focused`` or ``edm``.
        guidance: Scale of classifier-free guidance.
        guidances: Scales that the requests task goes through.
        num_atoms: ``distribution`` or ``target``.
        charge_neutral: Conditional samples are charge neutral by construction
            (:class:`pyg_crysdiff.sampling.Control`).
        num_elements: They have so many different elements, least and most; None for any number.
        target: Requested property value; None for the training minimum.
        request: What the generator is asked for where ``target`` is None: ``min``, ``min:5`` for
            values anywhere in the lowest 5 % of the training set, or ``max`` and ``max:5``.
        draws: Candidates for each crystal of a further row, in which a property model that was
            trained on the training set chooses; 1 for no such row.
        copies: How often one structure may be chosen; 0 for any number.
        symmetrise: Tolerance, Angstrom, within which crystals are moved to the positions of their
            space group: in a further row with all that were drawn, and before the choice of the
            best; 0 leaves them as drawn.
        predictor: Preset, or file of that property model.
        predictor_minutes: Its training time.
        evaluator: Preset, or file of a trained evaluator.
        evaluator_minutes: Training time of the evaluator.
        novelty_of: Valid crystals per row that are compared with the training set; None for all.
        coverage: Compute COV and AMSD, which needs fingerprints.
        overrides: Hydra overrides of ``train.yaml`` for the joint family.
        design_overrides: More of them, before these, for models that are asked for a property.
        model_overrides: The same for single ones of these models, by name.
        structrepdiff_overrides: The same for StructRepDiff.
        structrepdiff_steps: Its reverse steps.
        search: Reconstruction task: a file in ``configs/reconstruction``.
        descriptor: Reconstruction task: a file in ``configs/descriptor``.
        candidates: Prediction task: structures per composition.
        seed: Seed of everything.
        device: Device.
    """

    dataset: str
    out: Path
    data_root: Path | None = None
    split: str = "official"
    models: tuple[str, ...] = ("cdi", "cds")
    samples: tuple[tuple[str, Path], ...] = ()
    checkpoints: tuple[tuple[str, Path], ...] = ()
    baselines: tuple[tuple[str, Path], ...] = ()
    baseline_steps: int = 100
    properties: tuple[str, ...] | None = None
    budget_minutes: float = 30.0
    num_samples: int = 1000
    steps: int = 250
    corrector_steps: int = 3
    renewal: float = 0.0
    solver: Solver = "ancestral"
    spacing: Spacing = "uniform"
    guidance: float = 1.0
    guidances: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    num_atoms: str = "distribution"
    charge_neutral: bool = False
    num_elements: tuple[int, int] | None = None
    target: float | None = None
    request: str = "min"
    draws: int = 1
    copies: int = 1
    symmetrise: float = 0.0
    predictor: str = "standard"
    predictor_minutes: float = 15.0
    evaluator: str = "standard"
    evaluator_minutes: float = 15.0
    novelty_of: int | None = None
    coverage: bool = True
    overrides: tuple[str, ...] = ()
    design_overrides: tuple[str, ...] = ()
    model_overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structrepdiff_overrides: tuple[str, ...] = ()
    structrepdiff_steps: int = 250
    search: str = "thorough"
    descriptor: str = "graded"
    candidates: int = 20
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_names(self)

    @classmethod
    def resolve(cls, dataset: str, **given: Any) -> Settings:
        """Fill what is not given (or None) from ``configs/benchmark.yaml``."""
        table = load_table("benchmark.yaml")
        own = table.get(dataset, table["own"])
        values = {**table["default"], **own}
        values |= {key: value for key, value in given.items() if value is not None}
        lists = ("overrides", "design_overrides", "structrepdiff_overrides")
        for name in ("models", "guidances", *lists):
            values[name] = tuple(values[name])
        values["model_overrides"] = {k: tuple(v) for k, v in values["model_overrides"].items()}
        if values.get("num_elements") is not None:
            values["num_elements"] = tuple(values["num_elements"])
        return cls(dataset=dataset, **values)

    def sampler(self) -> Sampler:
        """Return the sampler of the joint family."""
        names = ("steps", "corrector_steps", "renewal", "solver", "spacing")
        return Sampler(**{name: getattr(self, name) for name in names})

    def data_options(self) -> dict[str, Any]:
        """Return the options of ``load_dataset`` besides the split."""
        if self.dataset in DATASETS and self.dataset != "demo":
            return {"scheme": self.split, "source": self.data_root}
        if self.data_root is not None or self.split != "official":
            raise ValueError(
                f"--data-root and --split belong to the published sets, not to {self.dataset!r}"
            )
        return {} if self.properties is None else {"properties": list(self.properties)}

    def load(self, split: str) -> CrystalDataset:
        """Open one split of the data set."""
        return load_dataset(self.dataset, split, **self.data_options())

    def chosen(self, count: int) -> list[int]:
        """Return ascending indices of ``num_samples`` random test crystals out of ``count``."""
        order = np.random.default_rng(self.seed).permutation(count)
        chosen: list[int] = np.sort(order[: self.num_samples]).tolist()
        return chosen

    def training_overrides(self, model: str) -> list[str]:
        """Return the Hydra overrides for training one model."""
        if self.dataset in DATASETS:
            data = [f"data={self.dataset}"]
        else:
            data = ["data=own", text_override("data.name", str(Path(self.dataset).resolve()))]
            if self.properties is not None:
                data.append(text_override("data.properties", self.properties))
            if self.properties is not None and len(self.properties) > 1:  # the first is optimised
                data.append(text_override("properties", self.properties[:1]))
        if self.dataset in DATASETS and self.dataset != "demo":
            data.append(f"data.scheme={self.split}")
            if self.data_root is not None:
                data.append(text_override("data.source", str(self.data_root.resolve())))
        family, dash, conditioner = model.rpartition("-")
        known = dash and family == "structrepdiff"
        if known:
            kind = [f"family={family}", f"conditioner={conditioner}"]
            more = self.structrepdiff_overrides
        else:
            kind = [f"conditioner={model}"]
            more = (
                *self.design_overrides,
                *self.model_overrides.get(model, ()),
                *self.overrides,
            )
        return [
            *data,
            *kind,
            f"seed={self.seed}",
            f"budget_minutes={self.budget_minutes:g}",
            f"device={self.device}",
            *more,
        ]
