"""Where atoms and pairs of atoms lie in memory: crystals of different size without padding."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyg_crysdiff.platform import sent


@dataclass(frozen=True)
class PairLayout:
    """Atoms sorted by the size of their crystal, and all pairs i < j within crystals.

    Crystals of equal size n form a group, so that anything over atoms or pairs of a group is a
    dense view of a flat array: no padding, and no pair ever joins two crystals.

    Attributes:
        groups: (number of crystals b, atoms per crystal n) per group, n ascending.
        order: Atom permutation, sorted position -> position in the caller's batch, (N,);
            ``None`` where the caller's order is already sorted.
        inverse: Inverse of ``order``.
        crystal: Crystal (caller's numbering) of each sorted atom, (N,).
    """

    groups: tuple[tuple[int, int], ...]
    order: Tensor | None
    inverse: Tensor | None
    crystal: Tensor

    @classmethod
    def build(cls, num_atoms: Tensor, device: torch.device | None = None) -> PairLayout:
        """Build the layout of a batch from its atom counts, (B,).

        Args:
            num_atoms: Atoms per crystal. The layout is made on the processor: on another device
                they are waited for.
            device: Where the index tensors are wanted; that of ``num_atoms`` if None.

        Raises:
            ValueError: If a crystal has no atoms.
        """
        device = num_atoms.device if device is None else device
        counts = num_atoms.detach().cpu()
        if counts.numel() and int(counts.min()) < 1:
            raise ValueError("every crystal needs at least one atom")
        by_size = torch.sort(counts, stable=True).indices
        starts = torch.cumsum(counts, 0) - counts
        sizes, frequency = torch.unique_consecutive(counts[by_size], return_counts=True)
        groups = tuple(
            (int(b), int(n)) for b, n in zip(frequency.tolist(), sizes.tolist(), strict=True)
        )
        sorted_counts = counts[by_size]
        crystal = torch.repeat_interleave(by_size, sorted_counts)
        within = torch.arange(len(crystal)) - torch.repeat_interleave(
            torch.cumsum(sorted_counts, 0) - sorted_counts, sorted_counts
        )
        order = starts[crystal] + within
        is_sorted = bool((order == torch.arange(len(order))).all())
        return cls(
            groups=groups,
            order=None if is_sorted else sent(order, device),
            inverse=None if is_sorted else sent(torch.argsort(order), device),
            crystal=sent(crystal, device),
        )

    @cached_property
    def crystals(self) -> Tensor:
        """Caller's number of every crystal in sorted order, (B,)."""
        return torch.cat([part[:, 0] for part in self.split_atoms(self.crystal)])

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """First and second atom, in sorted numbers, of every pair i < j of a crystal, (P,) each."""
        ends, start = [], 0
        for b, n in self.groups:
            first = start + n * torch.arange(b).view(1, b, 1)
            ends.append((first + upper(n).unsqueeze(1)).flatten(1))
            start += b * n
        i, j = sent(torch.cat(ends, dim=1), self.crystal.device)
        return i, j

    @cached_property
    def inner_pairs(self) -> list[Tensor]:
        """All i < j within a crystal of each group, (2, n (n - 1) / 2) each."""
        return [sent(upper(n), self.crystal.device) for _, n in self.groups]

    @cached_property
    def table(self) -> Tensor:
        """Sizes of the crystals in sorted order and where their rows begin, (4, B) int64, CPU.

        The rows are atoms, pairs i < j, and ordered pairs with i, i.
        """
        sizes = torch.tensor([n for b, n in self.groups for _ in range(b)], dtype=torch.long)
        pairs, squares = sizes * (sizes - 1) // 2, sizes.square()
        return torch.stack([sizes, *(x.cumsum(0) - x for x in (sizes, pairs, squares))])

    @cached_property
    def atom_table(self) -> Tensor:
        """What is known of every sorted atom, (6, N) int64.

        The rows are: first atom of its crystal, size of the crystal, where the crystal's pairs
        i < j and its ordered pairs begin, the atom's number within the crystal, the crystal in
        sorted order.
        """
        sizes, atoms, pairs, squares = self.table
        crystal = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        first = atoms[crystal]
        within = torch.arange(len(crystal)) - first
        rows = [first, sizes[crystal], pairs[crystal], squares[crystal], within, crystal]
        return sent(torch.stack(rows), self.crystal.device)

    def shares(self, parts: int) -> list[tuple[int, int]]:
        """Cut the crystals in sorted order into ranges (first, last) of about as many pairs."""
        count = self.table.size(1)
        if parts == 1:
            return [(0, count)]
        ends = self.table[3] + self.table[0].square()
        marks = torch.arange(1, parts) * int(ends[-1]) / parts if count else torch.zeros(0)
        cuts = sorted({0, *torch.searchsorted(ends, marks.long()).tolist(), count})
        return list(itertools.pairwise(cuts))

    def sort(self, atoms: Tensor) -> Tensor:
        """Bring per-atom values (N, ...) from the caller's order into the sorted order."""
        return atoms if self.order is None else atoms[self.order]

    def unsort(self, atoms: Tensor) -> Tensor:
        """Bring per-atom values (N, ...) back into the caller's order."""
        return atoms if self.inverse is None else atoms[self.inverse]

    def split_atoms(self, atoms: Tensor) -> list[Tensor]:
        """Cut sorted per-atom values (N, ...) into one (b, n, ...) view per group."""
        return self._split(atoms, [n for _, n in self.groups])

    def split_pairs(self, pairs: Tensor) -> list[Tensor]:
        """Cut per-pair values (P, ...) into one (b, n (n - 1) / 2, ...) view per group."""
        return self._split(pairs, [n * (n - 1) // 2 for _, n in self.groups])

    def split_crystals(self, crystals: Tensor) -> list[Tensor]:
        """Cut values of the sorted crystals (B, ...) into one (b, 1, ...) view per group."""
        return self._split(crystals, [1] * len(self.groups))

    def _split(self, values: Tensor, rows: list[int]) -> list[Tensor]:
        """Cut values with so many rows per crystal of each group."""
        # split() and not slices: in backward, each slice costs a zero tensor of full size.
        shapes = [(b, count) for (b, _), count in zip(self.groups, rows, strict=True)]
        parts = values.split([b * count for b, count in shapes])
        return [p.view(*s, *values.shape[1:]) for p, s in zip(parts, shapes, strict=True)]

    def crystal_mean(self, atoms: Tensor) -> Tensor:
        """Average sorted per-atom values (N, d) over each crystal, (B, d), caller's order."""
        means = torch.cat([part.mean(1) for part in self.split_atoms(atoms)])
        return torch.empty_like(means).index_copy(0, self.crystals, means)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept from sampling must serve training as well
def upper(n: int) -> Tensor:
    """Return all i < j below n in the order of the pairs of a crystal, (2, n (n - 1) / 2), CPU."""
    return torch.triu_indices(n, n, 1)
