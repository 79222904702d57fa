"""Asking a potential about many crystals, of which some may be beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.potentials import Point, Potential


class Refusal(NamedTuple):
    """Why there is no answer for a crystal.

    Attributes:
        reason: One line.
        final: Whether it would be the same another time; not after an error of the machine.
    """

    reason: str
    final: bool


class Asker:
    """Evaluates crystals in batches; a crystal that fails takes no other with it.

    A batch that fails is tried again in halves. After one that was too large for the memory, no
    batch has more than half as many atoms.

    Args:
        potential: What is asked.
        most_atoms: Most atoms in a batch; a larger crystal is a batch of its own.
    """

    def __init__(self, potential: Potential, most_atoms: int) -> None:
        self.potential = potential
        self.most_atoms = most_atoms

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point | Refusal]:
        """Return a point or a refusal for each crystal."""
        return [answer for part in self._parts(crystals) for answer in self._ask(part)]

    def _parts(self, crystals: Sequence[Crystal]) -> Iterator[Sequence[Crystal]]:
        start, atoms = 0, 0
        for end, crystal in enumerate(crystals):
            if end > start and atoms + len(crystal) > self.most_atoms:
                yield crystals[start:end]
                start, atoms = end, 0
            atoms += len(crystal)
        if start < len(crystals):
            yield crystals[start:]

    def _ask(self, crystals: Sequence[Crystal]) -> list[Point | Refusal]:
        try:
            return list(self.potential(crystals))
        except Exception as error:
            memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if len(crystals) == 1:
                return [_refusal(error, memory)]
        if memory:
            self.most_atoms = max(1, sum(map(len, crystals)) // 2)
        half = len(crystals) // 2
        return [*self._ask(crystals[:half]), *self._ask(crystals[half:])]


def _refusal(error: Exception, memory: bool) -> Refusal:
    if memory:
        return Refusal("not enough memory for this crystal alone", False)
    if isinstance(error, ValueError):
        return Refusal(str(error), True)
    return Refusal(f"{type(error).__name__}: {error}", False)
