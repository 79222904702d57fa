"""The sampler: how the reverse process is run, as one object that travels whole.

It comes from a checkpoint's card, a preset, a command or a caller, and goes through to the reverse
process, which asks it for the times and for the kind of every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from torch import Tensor

from pyg_crysdiff.diffusion.field import FieldDiffusion
from pyg_crysdiff.diffusion.kinds import Solver, Spacing
from pyg_crysdiff.diffusion.schedules import sampling_times
from pyg_crysdiff.diffusion.state import Prediction

Earlier = tuple[Tensor, Tensor]
_MAX_CORRECTOR_STEPS = 1_000
_TEMPERATURES = (0.1, 10.0)


@dataclass(frozen=True)
class Sampler:
    """Kind, number and times of the reverse steps.

    A sampler is replaced as a whole: what is not named is the default here, never a leftover of
    another sampler. ``Sampler()`` is the preset ``fast``.

    Attributes:
        solver: ``renewing`` estimates the clean coordinates and adds their noise anew in every
            step (:meth:`FieldDiffusion.renew`); ``ancestral`` samples the posterior of every step;
            ``flow`` follows the probability flow to second order (:meth:`FieldDiffusion.solve`);
            ``mixed`` renews the coordinates and follows the flow of the lattice, for few steps.
        steps: Number of reverse steps, 1 to T; None for all T.
        spacing: Times of the steps (:func:`sampling_times`).
        corrector_steps: Moves of the coordinates at fixed time before every step, each with a
            network call of its own (:meth:`FieldDiffusion.correct`).
        renewal: Share of the noise that such a move replaces, 0 to 1; 0 for Langevin moves.
        temperature: Below 1, likely places of the atoms are drawn more often, and fewer different
            ones: about as if probabilities were raised to 1 / temperature (:meth:`tempered`). Not
            for ``flow``, and not with a renewal.

    Raises:
        ValueError: If a value is out of range.
    """

    solver: Solver = "renewing"
    steps: int | None = 200
    spacing: Spacing = "uniform"
    corrector_steps: int = 0
    renewal: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise ValueError(f"solver must be one of {get_args(Solver)}, got {self.solver!r}")
        if self.spacing not in get_args(Spacing):
            raise ValueError(f"spacing must be one of {get_args(Spacing)}, got {self.spacing!r}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.corrector_steps <= _MAX_CORRECTOR_STEPS:
            raise ValueError(
                f"corrector_steps must lie between 0 and {_MAX_CORRECTOR_STEPS}, "
                f"got {self.corrector_steps}"
            )
        if not 0 <= self.renewal <= 1:
            raise ValueError(f"renewal must lie between 0 and 1, got {self.renewal}")
        low, high = _TEMPERATURES
        if not low <= self.temperature <= high:
            raise ValueError(
                f"temperature must lie between {low:g} and {high:g}, got {self.temperature}"
            )
        if self.temperature != 1 and (self.solver == "flow" or self.renewal):
            raise ValueError(
                f"temperature={self.temperature:g} needs renewal=0 and another solver than 'flow', "
                "which draws nothing"
            )

    @classmethod
    def preset(cls, name: str, presets: Mapping[str, Sampler] | None = None) -> Sampler:
        """Return a preset, ``paper`` or ``fast``.

        ``paper`` is that of the paper and of DiffCSP: all T steps with a Langevin move each, 2 T
        network calls. ``fast`` makes 200: nearly all measures of quality that were compared stay
        within the intervals of ``paper``'s.

        Args:
            name: Its name.
            presets: Presets of a family of models that has its own.

        Raises:
            ValueError: If there is no such preset.
        """
        known = PRESETS if presets is None else presets
        if name not in known:
            raise ValueError(f"there is no sampler {name!r}; presets: {', '.join(known)}")
        return known[name]

    @classmethod
    def of(
        cls, base: str | None = None, presets: Mapping[str, Sampler] | None = None, **named: Any
    ) -> Sampler:
        """Return a sampler of which some values are named.

        Args:
            base: Preset that gives the others; None for ``paper`` with the ancestral solver and
                ``fast`` with every other.
            presets: Presets of a family of models that has its own.
            **named: Values by attribute; None counts as not named.

        Raises:
            ValueError: If there is no such preset, or a value is out of range.
        """
        given = {name: value for name, value in named.items() if value is not None}
        usual = "paper" if given.get("solver") == "ancestral" else "fast"
        return replace(cls.preset(base or usual, presets), **given)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: Sampler | None = None) -> Sampler:
        """Return a sampler from the values that a card or a file names.

        Args:
            values: Values by attribute.
            base: Sampler that has the others; None for the preset ``paper``.

        Raises:
            ValueError: If a name is unknown or a value is of another kind or out of range.
        """
        kinds: dict[str, type | tuple[type, ...]] = {
            "solver": str, "steps": (int, type(None)), "spacing": str, "corrector_steps": int,
            "renewal": (int, float), "temperature": (int, float),
        }  # fmt: skip
        wrong = [
            name
            for name, value in values.items()
            if not isinstance(value, kinds.get(name, ())) or isinstance(value, bool)
        ]
        if wrong:
            raise ValueError(f"{dict(values)!r:.200} is no sampler (see {wrong}); it may have "
                             f"{', '.join(kinds)}")  # fmt: skip
        return replace(base or PRESETS["paper"], **values)

    def to_dict(self) -> dict[str, Any]:
        """Return all values by name, for cards and files.

        A temperature of 1 is not named: records from before there was one mean the same.
        """
        values = asdict(self)
        if self.temperature == 1:
            del values["temperature"]
        return values

    def within(self, num_steps: int) -> Sampler:
        """Return the same sampler with no more steps than a process of ``num_steps`` has."""
        if self.steps is None or self.steps <= num_steps:
            return self
        return replace(self, steps=num_steps)

    def times(self, num_steps: int) -> list[int]:
        """Return the times that are visited, from ``num_steps`` (T) down to 0.

        Raises:
            ValueError: If there are more steps than T.
        """
        return sampling_times(num_steps, self.steps, self.spacing)

    def calls(self, num_steps: int) -> int:
        """Return the number of network calls for one crystal, without guidance."""
        return (len(self.times(num_steps)) - 1) * (1 + self.corrector_steps)

    def tempered(self, prediction: Prediction) -> Prediction:
        r"""Divide the coordinates' scores of a prediction by the temperature, for ancestral steps.

        Steps that renew the coordinates scale the new noise by its root instead (:meth:`step`);
        with these the prediction stays as it is. The score of
        :math:`p_t^{1 / T}` is that of :math:`p_t` divided by T. This is low-temperature sampling
        (Ingraham et al., Nature 623, 1070 (2023); "anti-annealing" in FlowMM, arXiv 2406.04713). It
        draws from :math:`p_0^{1 / T}` only approximately, since adding noise and taking a power do
        not commute. Lattice and species stay as they are.

        Args:
            prediction: What the network predicts.
        """
        if self.temperature == 1 or self.solver != "ancestral":
            return prediction
        return replace(prediction, coordinates=prediction.coordinates / self.temperature)

    def step(
        self,
        field: FieldDiffusion,
        x_t: Tensor,
        prediction: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor,
        earlier: Earlier | None = None,
    ) -> tuple[Tensor, Earlier | None]:
        """Make one step of one field from t to s, of the kind of the solver.

        Args:
            field: Process of the field.
            x_t: State at t.
            prediction: The network's prediction at t.
            t: Times of the rows.
            s: Earlier times.
            noise: Noise of the step.
            earlier: What this returned in the step before; None in the first.

        Returns:
            State at s; time and estimate that the next step takes as ``earlier``, if any.
        """
        if self.solver == "flow" or (self.solver == "mixed" and not field.renews):
            x_s, found = field.solve(x_t, prediction, t, s, noise, earlier)
            return x_s, None if found is None else (t, found)
        if self.solver == "ancestral":
            return field.step(x_t, prediction, t, s, noise), None
        if field.renews:  # less noise than the network expects at s favours the heavier modes
            noise = math.sqrt(self.temperature) * noise
        return field.renew(x_t, prediction, t, s, noise), None

    def __str__(self) -> str:
        steps = "all steps" if self.steps is None else f"{self.steps} steps"
        parts = [self.solver, steps, f"{self.spacing} times"]
        if self.corrector_steps:
            several = "s" * (self.corrector_steps > 1)
            parts.append(f"{self.corrector_steps} corrector move{several} each")
            if self.renewal:
                parts.append(f"renewal {self.renewal:g}")
        if self.temperature != 1:
            parts.append(f"temperature {self.temperature:g}")
        return ", ".join(parts)


PRESETS = {
    "paper": Sampler("ancestral", None, "uniform", 1, 0.0),
    "fast": Sampler(),
}
