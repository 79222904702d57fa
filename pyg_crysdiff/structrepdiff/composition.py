"""From noisy fractions of elements and a noisy number of atoms to whole atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyg_crysdiff.structrepdiff.starts import Array


def fit_counts(composition: Array, num_atoms: float, sizes: Sequence[int]) -> np.ndarray:
    """Return the integer counts that fit element fractions and a number of atoms best, (K,).

    For every N within 1.5 of the wanted one, fractions are rounded to multiples of 1 / N by
    largest remainders; the N with the smallest squared misfit of fractions and size wins.

    Args:
        composition: Element fractions, (K,), not necessarily normalised.
        num_atoms: Wanted number of atoms.
        sizes: Numbers of atoms that occur.
    """
    share = np.clip(np.nan_to_num(composition), 0.0, None)
    share = share / share.sum() if share.sum() > 0 else np.full(len(share), 1 / len(share))
    near = sorted(sizes, key=lambda n: abs(n - num_atoms))
    candidates = [n for n in near if abs(n - num_atoms) <= 1.5] or near[:1]
    fits = []
    for n in candidates:
        counts = np.floor(share * n).astype(int)
        order = np.argsort(counts - share * n, kind="stable")
        counts[order[: n - counts.sum()]] += 1
        misfit = float(((counts / n - share) ** 2).sum() + ((n - num_atoms) / 10) ** 2)
        fits.append((misfit, n, counts))
    return min(fits, key=lambda fit: fit[:2])[2]


class KnownCounts:
    r"""The most probable whole atoms among the counts per element that known crystals have.

    With noise of standard deviation r u on every fraction :math:`s_k` and r v on the number of
    atoms m, and the known counts c (in any order of the elements) as frequent as in the training
    set, :math:`-2 r^2 \log p` is up to a constant

    .. math:: \sum_k \frac{(c_k / n - s_k)^2}{u^2} + \frac{(n - m)^2}{v^2} - 2 r^2 \log f_c,
        \qquad n = \sum_k c_k

    Rounding of the fractions alone fails where there are many elements: the noise of all those
    that are not there adds up.

    Args:
        counts: Known counts as in :class:`pyg_crysdiff.data.statistics.DataStatistics`.
        unit: u, the spread of fractions in the training set.
        size_unit: v, the spread of N; 0 where it does not vary.
        error: r, how large the noise is taken to be. It matters for the prior alone.

    Raises:
        ValueError: If no counts are known, or a unit is not positive.
    """

    def __init__(
        self, counts: Mapping[str, int], unit: float, size_unit: float, error: float = 0.2
    ) -> None:
        if not counts or unit < 0 or size_unit < 0 or error < 0:
            raise ValueError(f"no known counts, or no scale: {len(counts)}, {unit}, {size_unit}")
        rows = [[int(n) for n in row.split()] for row in counts]
        self.counts = np.zeros((len(rows), max(map(len, rows))), dtype=int)
        for to, row in zip(self.counts, rows, strict=True):
            to[: len(row)] = row
        self.sizes = self.counts.sum(1)
        frequency = np.array(list(counts.values())) / sum(counts.values())
        self.prior = 2 * error**2 * np.log(frequency)
        self.unit, self.size_unit = unit or 1.0, size_unit or np.inf

    def fit(self, composition: Array, num_atoms: float) -> np.ndarray:
        """Return the most probable counts of all elements, (K,).

        Args:
            composition: Element fractions, (K,), with noise of either sign.
            num_atoms: Number of atoms.
        """
        share, num_atoms = np.nan_to_num(composition), float(np.nan_to_num(num_atoms))
        # The largest count belongs to the largest fraction, and so on.
        order = np.argsort(-share, kind="stable")[: self.counts.shape[1]]
        wanted = np.zeros(self.counts.shape[1])
        wanted[: len(order)] = share[order]
        part = self.counts / self.sizes[:, None]
        misfit = (part**2 - 2 * part * wanted).sum(1) / self.unit**2
        misfit += ((self.sizes - num_atoms) / self.size_unit) ** 2 - self.prior
        misfit[(self.counts[:, len(order) :] > 0).any(1)] = np.inf  # more elements than there are
        out = np.zeros(len(share), dtype=int)
        out[order] = self.counts[misfit.argmin(), : len(order)]
        return out
