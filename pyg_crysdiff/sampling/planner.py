"""From constraints to what is given of every crystal, checked before anything is sampled.

Data flow: a :class:`Control` is checked against the training statistics and the wanted sizes. A
:class:`Planner` then draws a size and lays out a :class:`Plan` for every crystal. The plans of a
batch become the :class:`pyg_crysdiff.diffusion.inpainting.Inpainting` of the reverse process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from pyg_crysdiff.sampling.composition import (
    find_composition,
    parse_formula,
    symbol_of,
    system_of,
)
from pyg_crysdiff.sampling.control import Control

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """What is given of one crystal of N atoms.

    Attributes:
        allowed: Classes that each atom may have, (N, K).
        frac_coords: (N, 3), NaN where free.
        lattice: Row lattice, Angstrom, (3, 3), NaN where free.
    """

    allowed: Mask
    frac_coords: NDArray[np.float64]
    lattice: NDArray[np.float64]


class Planner:
    """Lays out the crystals of one request under a control.

    Args:
        control: The constraints.
        elements: Atomic numbers of the model's classes.
        needs_formula: Whether the model generates no species.

    Raises:
        ValueError: If the constraints contradict each other or name what the model does not know.
    """

    def __init__(
        self, control: Control, elements: Sequence[int], needs_formula: bool = False
    ) -> None:
        self.control, self.elements = control, list(elements)
        self.needs_formula = needs_formula
        self.symbols = [Element.from_Z(z).symbol for z in self.elements]
        if needs_formula and not (control.formulas or self.template_classes):
            raise ValueError(
                "this model predicts structures of given compositions; give a formula "
                "(formula='TiO2', --formula TiO2)"
            )
        self._examples: dict[tuple[int, int], list[int] | None] = {}
        self.must = self._must()
        self.may = self._may()
        self._check_formulas()

    @cached_property
    def counts(self) -> list[dict[int, int]]:
        """Class to number of atoms, for every formula."""
        return [self._counts(f) for f in self.control.formulas]

    def sizes(self, wanted: Mapping[int, float], given: bool, index: int) -> dict[int, float]:
        """Return the numbers of atoms that a crystal may have, with weights.

        Args:
            wanted: Numbers of atoms that were asked for, or occur in the training set, to weights.
            given: Whether they were asked for.
            index: Index of the crystal, which decides its formula.

        Raises:
            ValueError: If none of them meets the constraints.
        """
        template = self.control.template
        if self.counts:
            whole = sum(self.counts[index % len(self.counts)].values())
            unit = whole // self._divisor(index)
            options = {n: w for n, w in wanted.items() if n % unit == 0} if given else {whole: 1.0}
            why = f"a multiple of the {unit} atoms of {self._formula(index)}"
        elif template is not None and not given:
            options, why = {len(template.crystal): 1.0}, "the size of the template"
        else:
            options, why = dict(wanted), "a possible size"
        options = {n: w for n, w in options.items() if self._feasible(n, index)}
        if not options:
            raise ValueError(
                f"no number of atoms among {sorted(wanted)} is {why} and meets the constraints "
                f"{self.control.describe()}; change --num-atoms or the constraints"
            )
        return options

    def plan(self, size: int, index: int) -> Plan:
        """Lay out crystal ``index`` with a feasible number of atoms."""
        free = np.tile(self.may, (size, 1))
        coords, lattice = np.full((size, 3), np.nan), np.full((3, 3), np.nan)
        template, one_hot = self.control.template, np.eye(len(self.elements), dtype=bool)
        if template is not None:
            kept = list(template.kept)
            if "coordinates" in template.keep:
                coords[: len(kept)] = template.crystal.frac_coords[kept]
            if "lattice" in template.keep:
                lattice = template.crystal.lattice.astype(float)
        given = [*self.template_classes, *(self._fixed(size, index) or ())]
        free[: len(given)] = one_hot[given]
        return Plan(free, coords, lattice)

    def example(self, size: int, index: int) -> list[int] | None:
        """Return classes of a crystal that obeys its plan and the rule, or None."""
        key = (size, index % max(len(self.counts), 1))
        if key not in self._examples:
            self._examples[key] = find_composition(
                self.plan(size, index).allowed, self.elements, self.control.rule
            )
        return self._examples[key]

    def _feasible(self, size: int, index: int) -> bool:
        kept = 0 if self.control.template is None else len(self.control.template.kept)
        if size < max(kept, 1):
            return False
        missing = self._fixed(size, index)
        if missing is None:
            return False
        given = len(self.template_classes) + len(missing)
        if given > size or (self.needs_formula and given < size):
            return False
        return not self.control.rule or self.example(size, index) is not None

    def _fixed(self, size: int, index: int) -> list[int] | None:
        """Classes that atoms without a template's species must have; None if impossible."""
        have = np.bincount(self.template_classes, minlength=len(self.elements))
        if self.counts:
            counts = self.counts[index % len(self.counts)]
            want = np.zeros(len(self.elements), dtype=int)
            for cls, n in counts.items():
                want[cls] = n * size
            left, rest = np.divmod(want, sum(counts.values()))
            left -= have
            if rest.any() or (left < 0).any():
                return None
            classes: list[int] = np.repeat(np.arange(len(left)), left).tolist()
            return classes
        return [cls for cls in self.must if not have[cls]]

    @cached_property
    def template_classes(self) -> list[int]:
        """Classes of the template's kept sites; empty where its species are free."""
        template = self.control.template
        if template is None or "species" not in template.keep:
            return []
        numbers = [int(template.crystal.atomic_numbers[k]) for k in template.kept]
        if unknown := sorted(set(numbers) - set(self.elements)):
            raise ValueError(
                f"the template has elements that the model was not trained on: "
                f"{[Element.from_Z(z).symbol for z in unknown]}"
            )
        return [self.elements.index(z) for z in numbers]

    def _must(self) -> list[int]:
        system = self._system()
        return [self._class(s) for s in dict.fromkeys((*system, *self.control.required))]

    def _may(self) -> Mask:
        may = np.ones(len(self.elements), dtype=bool)
        for only in (self._system(), self.control.allowed):
            if only:
                may &= np.isin(np.arange(len(may)), [self._class(s) for s in only])
        # An element that the model cannot make anyway is no mistake in a list of forbidden ones.
        forbidden = [Element(s).symbol for s in map(symbol_of, self.control.forbidden)]
        may &= ~np.isin(self.symbols, forbidden)
        wanted = set(self.must) | set(self.template_classes)
        if clash := [self.symbols[c] for c in sorted(wanted) if not may[c]]:
            raise ValueError(f"{clash} must occur and must not occur: {self.control.describe()}")
        if not may.any():
            raise ValueError(f"no element is left by {self.control.describe()}")
        return may

    def _check_formulas(self) -> None:
        for formula, counts in zip(self.control.formulas, self.counts, strict=True):
            barred = [self.symbols[c] for c in counts if not self.may[c]]
            absent = [self.symbols[c] for c in self.must if c not in counts]
            if barred or absent:
                raise ValueError(
                    f"the formula {formula} has {barred or 'no'} {absent or ''} against the other "
                    f"constraints {self.control.describe()}"
                )

    def _system(self) -> list[str]:
        return system_of(self.control.chemical_system)

    def _class(self, symbol: str) -> int:
        symbol = symbol_of(symbol)
        if symbol not in self.symbols:
            raise ValueError(
                f"{symbol} does not occur in the training set of the model; it knows "
                f"{' '.join(self.symbols)}"
            )
        return self.symbols.index(symbol)

    def _counts(self, formula: str) -> dict[int, int]:
        return {self._class(s): n for s, n in parse_formula(formula).items()}

    def _divisor(self, index: int) -> int:
        return int(np.gcd.reduce(list(self.counts[index % len(self.counts)].values())))

    def _formula(self, index: int) -> str:
        amounts = parse_formula(self.control.formulas[index % len(self.counts)])
        return Composition(amounts).reduced_formula
