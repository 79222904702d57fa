"""Hard constraints on what is sampled, as a user states them: composition and template."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from pyg_crysdiff._renamed import moved
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.sampling.composition import (
    CompositionRule,
    parse_formula,
    symbol_of,
    system_of,
)

Part = Literal["coordinates", "species", "lattice"]
PARTS: tuple[Part, ...] = ("coordinates", "species", "lattice")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Template:
    """A structure of which parts are kept while the rest is generated (inpainting).

    Attributes:
        crystal: The structure.
        sites: Sites that are kept, counted from 0; None for all. The others are generated anew,
            as many as the number of atoms asks for.
        keep: What is kept: ``coordinates`` and ``species`` of these sites, ``lattice``.
    """

    crystal: Crystal
    sites: tuple[int, ...] | None = None
    keep: tuple[Part, ...] = PARTS

    def __post_init__(self) -> None:
        if not self.keep or set(self.keep) - set(PARTS):
            raise ValueError(f"a template keeps one or more of {PARTS}, not {self.keep}")
        count = len(self.crystal)
        if bad := [k for k in self.sites or () if not 0 <= k < count]:
            raise ValueError(f"sites {bad} are not among the template's, 0 to {count - 1}")
        if len(set(self.kept)) < len(self.kept):
            raise ValueError(f"a site of the template is named twice: {list(self.kept)}")

    @property
    def kept(self) -> tuple[int, ...]:
        """Sites that are kept."""
        return tuple(range(len(self.crystal))) if self.sites is None else self.sites


@dataclass(frozen=True)
class Control:
    """Constraints that every sampled crystal obeys; all that are given hold together.

    Attributes:
        formulas: Exact compositions, such as ``Ti2O4``; crystal i takes number i modulo their
            count. Where a number of atoms is asked for, its multiples of the reduced formula.
        chemical_system: Elements such as ``Li-Fe-O``: all of them occur and no other.
        allowed: Only these elements.
        forbidden: None of these elements.
        required: Each of these elements occurs.
        charge_neutral: The composition is valid under SMACT (CDVAE's rule, the ``comp_valid`` of
            the harness).
        num_elements: Least and largest number of different elements.
        template: Structure whose parts are kept.
    """

    formulas: tuple[str, ...] = ()
    chemical_system: str | None = None
    allowed: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    charge_neutral: bool = False
    num_elements: tuple[int, int] | None = None
    template: Template | None = None

    def __post_init__(self) -> None:
        for name in ("formulas", "allowed", "forbidden", "required"):
            if isinstance(given := getattr(self, name), str):  # else read letter by letter
                object.__setattr__(self, name, (given,))
        if self.num_elements is not None and not 1 <= self.num_elements[0] <= self.num_elements[1]:
            raise ValueError(
                f"num_elements needs 1 <= least <= largest, got {tuple(self.num_elements)}"
            )

    @property
    def rule(self) -> CompositionRule:
        """What the composition as a whole must be."""
        return CompositionRule(self.charge_neutral, self.num_elements)

    def __bool__(self) -> bool:
        return self != Control()

    def problem(self, crystal: Crystal) -> str | None:
        """Return which constraint on the composition a crystal does not meet; None if it meets all.

        Any of the formulas will do, in any multiple. What is kept of a template is not compared.

        Raises:
            ValueError: If a constraint names what is no element or formula.
        """
        has = {Element.from_Z(int(z)).symbol for z in np.unique(crystal.atomic_numbers)}
        system = set(system_of(self.chemical_system))
        allowed, forbidden, required = (
            {symbol_of(s) for s in some} for some in (self.allowed, self.forbidden, self.required)
        )
        formulas = {Composition(parse_formula(f)).reduced_formula for f in self.formulas}
        mine, numbers = reduced_formula(crystal), crystal.atomic_numbers
        barred = (has - allowed if allowed else set()) | (has & forbidden)
        wrong = {
            f"{mine} is none of {', '.join(sorted(formulas))}": formulas and mine not in formulas,
            f"its elements are {_listed(has)}, not {_listed(system)}": system and has != system,
            f"{_listed(barred)} must not occur": barred,
            f"{_listed(required - has)} must occur": required - has,
            f"{len(has)} is not the number of elements asked for": not CompositionRule(
                num_elements=self.num_elements
            ).accepts(numbers),
        }
        if found := next((text for text, is_so in wrong.items() if is_so), None):
            return found
        return None if self.rule.accepts(numbers) else f"{mine} is not valid under SMACT"

    def describe(self, index: int | None = None) -> dict[str, Any]:
        """Return plain data for provenance; without what is not asked for.

        Args:
            index: A crystal, of whose formula alone is told; None for all formulas.
        """
        plain = {k: v for k, v in asdict(self).items() if v and k != "template"}
        if index is not None and self.formulas:
            plain["formulas"] = [self.formulas[index % len(self.formulas)]]
        if self.template is not None:
            plain["template"] = {
                "formula": self.template.crystal.to_structure().composition.formula,
                "digest": self.template.crystal.digest(),
                "sites": list(self.template.kept),
                "keep": list(self.template.keep),
            }
        return plain


def _listed(symbols: set[str]) -> str:
    return " ".join(sorted(symbols))


def __getattr__(name: str) -> Any:
    places = {n: f"pyg_crysdiff.sampling.planner.{n}" for n in ("Plan", "Planner")}
    return moved(__name__, places, name)
