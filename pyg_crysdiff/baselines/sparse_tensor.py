"""The part of ``torch_sparse.SparseTensor`` with which DimeNet-like networks find triplets."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor


class Storage:
    """Coordinates and values of the entries, by row and then column."""

    def __init__(self, row: Tensor, col: Tensor, value: Tensor | None) -> None:
        self._row, self._col, self._value = row, col, value

    def row(self) -> Tensor:
        """Row of each entry."""
        return self._row

    def col(self) -> Tensor:
        """Column of each entry."""
        return self._col

    def value(self) -> Tensor | None:
        """Value of each entry; None for a pattern of ones."""
        return self._value


class SparseTensor:
    """A sparse matrix that may hold several entries at one place (periodic images).

    Args:
        row: Rows, (E,).
        col: Columns, (E,).
        value: Values, (E,), or None.
        sparse_sizes: Shape.
        is_sorted: Entries are in order already.
    """

    def __init__(
        self,
        row: Tensor,
        col: Tensor,
        value: Tensor | None = None,
        sparse_sizes: tuple[int, int] = (0, 0),
        is_sorted: bool = False,
    ) -> None:
        if not is_sorted:
            order = torch.argsort(row * sparse_sizes[1] + col, stable=True)
            row, col = row[order], col[order]
            value = None if value is None else value[order]
        self.storage = Storage(row, col, value)
        self.sparse_sizes = (int(sparse_sizes[0]), int(sparse_sizes[1]))

    def __getitem__(self, rows: Tensor) -> Self:
        """Select rows, with repetition: ``out[i] = self[rows[i]]``."""
        row, col, value = self.storage.row(), self.storage.col(), self.storage.value()
        counts = torch.bincount(row, minlength=self.sparse_sizes[0])
        first = counts.cumsum(0) - counts
        chosen = counts[rows]
        new_row = torch.arange(len(rows), device=row.device).repeat_interleave(chosen)
        start = chosen.cumsum(0) - chosen
        within = torch.arange(len(new_row), device=row.device) - start[new_row]
        entry = first[rows][new_row] + within
        picked = None if value is None else value[entry]
        sizes = (len(rows), self.sparse_sizes[1])
        return type(self)(new_row, col[entry], picked, sizes, is_sorted=True)

    def set_value(self, value: Tensor | None) -> Self:
        """Return the same pattern with other values."""
        row, col = self.storage.row(), self.storage.col()
        return type(self)(row, col, value, self.sparse_sizes, is_sorted=True)

    def to(self, device: torch.device | str) -> Self:
        """Move the entries to a device."""
        row, col, value = self.storage.row(), self.storage.col(), self.storage.value()
        moved = None if value is None else value.to(device)
        sizes = self.sparse_sizes
        return type(self)(row.to(device), col.to(device), moved, sizes, is_sorted=True)

    def sum(self, dim: int) -> Tensor:
        """Sum over the columns of each row; a pattern counts ones."""
        if dim != 1:
            raise NotImplementedError("only the sum over columns")
        row, value = self.storage.row(), self.storage.value()
        ones = torch.ones(len(row), device=row.device) if value is None else value
        return torch.zeros(self.sparse_sizes[0], device=row.device, dtype=ones.dtype).index_add(
            0, row, ones
        )
