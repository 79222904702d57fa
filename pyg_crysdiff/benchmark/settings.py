"""Settings of a benchmark run: ``configs/benchmark.yaml`` and the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from pyg_crysdiff.baselines import load_baseline
from pyg_crysdiff.benchmark.names import check_names
from pyg_crysdiff.configuration import compose_config, load_table
from pyg_crysdiff.data import DATASETS, CrystalDataset, load_dataset
from pyg_crysdiff.diffusion.sampler import Sampler

LOOKUPS = ("auto", "none")
_JUDGES = ("chgnet", "sevennet")
_STRUCTREPDIFF = ("structrepdiff", "structrepdiff-mlp", "structrepdiff-paper")
# min, max, and with a percentage after a colon.
REQUEST = re.compile(r"(min|max)(?::(100|[0-9]{1,2}(?:\.[0-9]+)?))?")


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a benchmark run.

    Attributes:
        dataset: Name of a data set, or path of a user's own.
        out: Output folder; an interrupted run goes on from what it holds.
        data_root: Folder that already holds the files of a published set.
        split: ``official`` or ``val-as-train``.
        models: Conditioners to train and sample; with ``structrepdiff-``, ``structrepdiff-mlp-``
            or ``structrepdiff-paper-`` before them, of that
            family.
        samples: Method name to sample file of another model.
        checkpoints: Name to checkpoint, sampled without training.
        baselines: Peer's name to a sample file, an output folder, or a checkout to train.
        baseline_steps: Peer's name to the steps of its sampler where it is run live: Langevin
            steps per noise level (CDVAE, SyMat), all steps (DiffCSP). Others take their own.
        properties: Property columns of an own data set.
        budget_minutes: Training time per model.
        num_samples: Crystals per row.
        num_unconditional: Crystals of the row without a condition, of which the first
            ``num_samples`` are compared for uniqueness; None for ``num_samples``, 0 for no such
            row. Published coverage is counted over 10,000.
        sampler: How the reverse process of the joint family is run.
        structrepdiff_sampler: The same for StructRepDiff, which has no corrector moves.
        guidance: Scale of classifier-free guidance.
        guidances: Scales that the requests task goes through.
        num_atoms: ``distribution`` or ``target``.
        charge_neutral: Conditional samples are charge neutral by construction
            (:class:`pyg_crysdiff.sampling.Control`).
        num_elements: They have so many different elements, least and most; None for any number.
        target: Requested property value; None for the training minimum.
        requests: What the generator is asked for where ``target`` is None, a row each: ``min``,
            ``min:5`` for values anywhere in the lowest 5 % of the training set, or ``max`` and
            ``max:5``.
        paper_row: A further row for the minimum by the paper's sampler, all steps with a corrector
            move each, without guidance and constraints.
        draws: Candidates for each crystal of a further row of the last request, in which a property
            model that was trained on the training set chooses; 1 for no such row.
        copies: How often one structure may be chosen; 0 for any number.
        symmetrise: Tolerance, Angstrom, within which crystals are moved to the positions of their
            space group: in a further row with all that were drawn, and before the choice of the
            best; 0 leaves them as drawn.
        predictor: Preset, or file of that property model; not the evaluator itself.
        predictor_minutes: Its training time.
        evaluator: ``cdvae`` for CDVAE's own evaluator of a published set; a preset, which is
            trained on the test split; or a file or folder
            (:func:`pyg_crysdiff.property.judges.find_evaluator`).
        evaluator_minutes: Training time of the evaluator.
        novelty_of: Valid crystals per row, spread evenly over it, that are compared with the
            training set; None for all.
        lookup: ``auto`` looks generated crystals up among the known ones where the data set is
            the whole of its space; ``none`` never does.
        coverage: Compute COV and AMSD, which needs fingerprints.
        train: Settings of ``configs/train.yaml`` for training the joint family, nested as there.
        train_design: More of them for models that are asked for a property; ``train`` wins.
        train_model: More of them for single ones of these models, by name; they win over
            ``train_design``, and ``train`` wins over them.
        train_structrepdiff: Those for training StructRepDiff with a U-Net.
        train_structrepdiff_mlp: Those for training it with an MLP.
        structrepdiff_search: Its search for coordinates: a file in ``configs/reconstruction``. The
            paper's form keeps the paper's.
        overrides: Hydra overrides of ``train.yaml`` for the joint family, which win over all.
        search: Reconstruction task: a file in ``configs/reconstruction``.
        descriptor: Reconstruction task: a file in ``configs/descriptor``.
        candidates: Prediction task: structures per composition.
        relax: Prediction task: ``none``, or the name of a judge for further rows with the
            candidates after their relaxation (:func:`pyg_crysdiff.relaxation.find_judge`).
        relax_steps: Most steps of such a relaxation.
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
    baseline_steps: Mapping[str, int] = field(default_factory=dict)
    properties: tuple[str, ...] | None = None
    budget_minutes: float = 30.0
    num_samples: int = 1000
    num_unconditional: int | None = None
    sampler: Sampler = field(default_factory=Sampler)
    structrepdiff_sampler: Sampler = field(default_factory=partial(Sampler, "ancestral", 250))
    guidance: float = 1.0
    guidances: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    num_atoms: str = "distribution"
    charge_neutral: bool = False
    num_elements: tuple[int, int] | None = None
    target: float | None = None
    requests: tuple[str, ...] = ("min",)
    paper_row: bool = False
    draws: int = 1
    copies: int = 1
    symmetrise: float = 0.0
    predictor: str = "standard"
    predictor_minutes: float = 15.0
    evaluator: str = "standard"
    evaluator_minutes: float = 15.0
    novelty_of: int | None = None
    lookup: str = "auto"
    coverage: bool = True
    train: Mapping[str, Any] = field(default_factory=dict)
    train_design: Mapping[str, Any] = field(default_factory=dict)
    train_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    train_structrepdiff: Mapping[str, Any] = field(default_factory=dict)
    train_structrepdiff_mlp: Mapping[str, Any] = field(default_factory=dict)
    structrepdiff_search: str = "fast"
    overrides: tuple[str, ...] = ()
    search: str = "thorough"
    descriptor: str = "graded"
    candidates: int = 20
    relax: str = "none"
    relax_steps: int = 200
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_requests(self.requests)
        if self.lookup not in LOOKUPS:
            raise ValueError(f"lookup must be one of {LOOKUPS}, got {self.lookup!r}")
        check_judge(self.relax)
        if self.relax_steps < 1:
            raise ValueError(f"a relaxation takes at least 1 relax_steps, got {self.relax_steps}")
        check_names(
            [
                *(("--models", name) for name in self.models),
                *(("--checkpoint", name) for name, _ in self.checkpoints),
                *(("--samples", name) for name, _ in self.samples),
                *(("--baseline", load_baseline(name).title) for name, _ in self.baselines),
            ]
        )

    @classmethod
    def resolve(cls, dataset: str, **given: Any) -> Settings:
        """Fill what is not given (or None) from ``configs/benchmark.yaml``.

        Who names ``num_samples`` alone names ``num_unconditional`` too. ``request`` is the name of
        ``requests`` in version 0.1.
        """
        table = load_table("benchmark.yaml")
        own = table.get(dataset, table["own"])
        values = {**table["default"], **own}
        named = {key: value for key, value in given.items() if value is not None}
        if "num_samples" in named:
            values["num_unconditional"] = None
        if "request" in named:
            named["requests"] = named.pop("request")
        values |= named
        if isinstance(values["requests"], str):
            values["requests"] = [values["requests"]]
        for name in ("models", "guidances", "requests"):
            values[name] = tuple(values[name])
        for name in ("sampler", "structrepdiff_sampler"):
            values[name] = _sampler(values[name])
        if values.get("num_elements") is not None:
            values["num_elements"] = tuple(values["num_elements"])
        return cls(dataset=dataset, **values)

    def data_options(self) -> dict[str, Any]:
        """Return the options of ``load_dataset`` besides the split."""
        if self.dataset in DATASETS and self.dataset != "demo":
            root = None if self.data_root is None else str(self.data_root.resolve())
            return {"scheme": self.split, "source": root}
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

    def training_config(self, model: str) -> dict[str, Any]:
        """Return the configuration for training one model; its data are handed over beside it.

        Args:
            model: As in ``models``.

        Raises:
            ValueError: If there is no such conditioner or setting, or an override is of the data.
        """
        settings: dict[str, Any] = {
            "seed": self.seed, "budget_minutes": self.budget_minutes, "device": self.device
        }  # fmt: skip
        if self.properties is not None and len(self.properties) > 1:  # the first is optimised
            settings["properties"] = [self.properties[0].replace("${", r"\${")]  # as it is
        family, dash, conditioner = model.rpartition("-")
        if dash and family in _STRUCTREPDIFF:
            choices = [f"family={family}", f"conditioner={conditioner}"]
            if family != "structrepdiff-paper":
                choices.append(f"reconstruction={self.structrepdiff_search}")
            mlp = family == "structrepdiff-mlp"
            own = self.train_structrepdiff_mlp if mlp else self.train_structrepdiff
            more: tuple[Mapping[str, Any], ...] = (own,)
        else:
            _refuse_data(self.overrides)
            choices = [f"conditioner={model}", *self.overrides]
            more = (self.train_design, self.train_model.get(model, {}), self.train)
        merged = OmegaConf.to_container(OmegaConf.merge(settings, *more))
        assert isinstance(merged, dict)
        return compose_config(choices, {str(key): value for key, value in merged.items()})


def _sampler(value: Sampler | Mapping[str, Any] | str) -> Sampler:
    """Return a sampler from what a table may hold: its values, or the name of a preset."""
    if isinstance(value, str):
        return Sampler.preset(value)
    return value if isinstance(value, Sampler) else Sampler.of(**value)


def _check_requests(requests: Sequence[str]) -> None:
    """Refuse a request before anything is trained for it."""
    bad = [text for text in requests if REQUEST.fullmatch(text) is None]
    if bad or not requests:
        raise ValueError(
            f"--request {','.join(bad) or repr('')}: expected min, max, min:PERCENT or "
            "max:PERCENT, several with commas between them"
        )
    twice = {text for text in requests if requests.count(text) > 1}
    if twice:
        raise ValueError(f"--request {', '.join(sorted(twice))} is given twice")


def check_judge(name: str) -> None:
    """Refuse the name of a potential that cannot be one; whether it is installed is not asked."""
    kind, colon, rest = name.partition(":")
    if name not in ("none", *_JUDGES) and not (kind in ("ase", "torchsim") and colon and rest):
        raise ValueError(
            f"relax must be none, chgnet, sevennet, ase:module.Class or torchsim:NAME, got {name!r}"
        )


def _refuse_data(overrides: Sequence[str]) -> None:
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        if key.split(".")[0] == "data":
            raise ValueError(
                f"--set {text}: a benchmark trains on the data that it is given by --dataset, "
                "--data-root, --split and --properties"
            )
