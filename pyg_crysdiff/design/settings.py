"""Settings of a design run, and the record that tells one run from another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.acquisition import KINDS
from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.choosing import Caps
from pyg_crysdiff.design.drawing import Request
from pyg_crysdiff.design.filtering import Known, Valid
from pyg_crysdiff.design.fine_tune_settings import FineTune
from pyg_crysdiff.design.given import model_identity
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.plain import objective_facts
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.predictor import PropertyPredictor
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.sampling.control import Control
from pyg_crysdiff.sampling.request import NumAtoms
from pyg_crysdiff.storage import digest_of

_OF_REQUESTS = ("guidance", "num_atoms", "sampler")
_MACHINE = ("device", "workers")  # where a run is computed is free to change


@dataclass(frozen=True)
class DesignSettings:
    """How a design run goes about it.

    Attributes:
        batch: Evaluations in a round; the last round has what is left of the budget.
        draws: Crystals that are drawn for a round; where too few of them are new, more are drawn.
        acquisition: How candidates are ordered: ``improvement`` (expected improvement), ``bound``
            (optimistic bound), ``mean`` (predicted value alone) or ``random``.
        kappa: Standard deviations of ``bound``.
        caps: Most chosen crystals of a composition, a prototype, an element.
        fine_tune: How the generator learns from what was found; None keeps it as it is.
        requests: How the generator is asked; None follows from the objectives and what the
            generator knows, anew in every round.
        guidance: Guidance of requests that name none; None for the checkpoint's.
        num_atoms: Numbers of atoms of requests that name none; None for the checkpoint's.
        sampler: Sampler of requests that name none; None for the checkpoint's.
        valid: What a candidate must be: ``structure`` or ``cdvae``, which asks for a valid
            composition as well (:class:`pyg_crysdiff.design.filtering.Filter`).
        known_within: How near to a known crystal a candidate counts as it: pymatgen's ``stol``;
            None for 0.3, as everywhere.
        seed: Seed of everything that is random.
        device: Device of PyTorch; None for the best there is.
        precision: Precision of the generator: ``auto``, ``32-true`` or ``bf16-mixed``.
        workers: Processes that compare structures; None for all cores.

    Raises:
        ValueError: If a number is out of range or there is no such acquisition.
    """

    batch: int = 50
    draws: int = 2000
    acquisition: str = "improvement"
    kappa: float = 2.0
    caps: Caps = field(default_factory=Caps)
    fine_tune: FineTune | None = None
    requests: tuple[Request, ...] | None = None
    guidance: float | None = None
    num_atoms: NumAtoms | None = None
    sampler: Sampler | str | None = None
    valid: Valid = "structure"
    known_within: float | None = None
    seed: int = 0
    device: str | None = None
    precision: str = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.draws < self.batch:
            raise ValueError(
                f"{self.draws} draws are fewer than the {self.batch} crystals that are chosen of "
                "them in each round: draw more, or choose a smaller batch"
            )
        if self.acquisition not in KINDS:
            raise ValueError(f"acquisition must be one of {KINDS}, got {self.acquisition!r}")
        if not self.kappa >= 0:
            raise ValueError(f"kappa must be 0 or more, got {self.kappa}")
        if self.known_within is not None and not 0 < self.known_within < math.inf:
            raise ValueError(f"known_within must be above 0, got {self.known_within}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"the seed must be a whole number from 0 to 2^63 - 1, got {self.seed}")

    def describe(self) -> dict[str, Any]:
        """Return plain data for the record of a run, without what depends on the machine."""
        plain = {k: v for k, v in vars(self).items() if k not in _MACHINE}
        if self.known_within is None:
            del plain["known_within"]
        rest = Request(None, self.guidance, self.num_atoms, self.sampler).describe()
        return {
            **plain,
            **{name: rest[name] for name in _OF_REQUESTS},
            "caps": asdict(self.caps),
            "fine_tune": None if self.fine_tune is None else asdict(self.fine_tune),
            "requests": self.requests and [request.describe() for request in self.requests],
        }

    def filled(self, request: Request) -> Request:
        """Return a request with what it does not name."""
        named = {name: getattr(request, name) for name in _OF_REQUESTS}
        return replace(
            request, **{k: getattr(self, k) if v is None else v for k, v in named.items()}
        )


def run_record(
    settings: DesignSettings,
    *,
    checkpoint: str,
    objectives: Sequence[Objective],
    oracle: Oracle,
    budget: int,
    data: Sequence[Crystal] = (),
    known: Known = None,
    control: Control | None = None,
    predictors: Sequence[PropertyPredictor] = (),
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what decides a run, with digests in place of crystals and files.

    Args:
        settings: How it goes about it.
        checkpoint: Digest of the generator's file.
        objectives: What is wanted.
        oracle: Who evaluates.
        budget: Evaluations.
        data: Labelled crystals.
        known: Known crystals.
        control: Hard constraints.
        predictors: Trained predictors that are given.
        about: Names for people, which do not tell one run from another.
    """
    names = [objective.name for objective in objectives]
    return {
        "objectives": objective_facts(objectives),
        "oracle": oracle.identity,
        "budget": budget,
        "checkpoint": checkpoint,
        "data": {"crystals": len(data), "digest": _digest(data, names)},
        "known": None if known is None else known_record(known),
        "control": control.describe() if control else None,
        **({"predictors": given_record(predictors)} if predictors else {}),
        **({"about": dict(about)} if about else {}),
        **settings.describe(),
    }


def given_record(predictors: Sequence[PropertyPredictor]) -> dict[str, str]:
    """Return the digest of each given predictor, by the name of its number."""
    return {one.property_name: model_identity(one) for one in predictors}


def known_record(known: Sequence[Crystal] | Database) -> dict[str, Any]:
    """Return number and digest of known crystals."""
    digest = known.digest() if isinstance(known, Database) else _digest(known, ())
    return {"crystals": len(known), "digest": digest}


def _digest(crystals: Sequence[Crystal], names: Sequence[str]) -> str:
    parts = (f"{c.digest()}{[c.info.get(name) for name in names]}" for c in crystals)
    return digest_of(parts)
