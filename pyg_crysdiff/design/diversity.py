"""How different the evaluated crystals of each round are: formulas, prototypes, elements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from ase.data import chemical_symbols
from scipy.stats import binom

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.design.choosing import prototype

GROWTH = 2.0  # times its first share at which an element's share is named
_FEWEST = 5  # crystals with an element below which its share says nothing
_CHANCE = 0.01  # of as many crystals by chance
_SHOWN = 30  # elements in the picture


def element_shares(crystals: Sequence[Crystal]) -> dict[str, float]:
    """Return the share of crystals that hold each element, by symbol, the commonest first."""
    counts = Counter(
        chemical_symbols[z] for crystal in crystals for z in set(crystal.atomic_numbers.tolist())
    )
    return {symbol: n / len(crystals) for symbol, n in counts.most_common()}


def diversity_rows(rounds: Mapping[int, Sequence[Crystal]]) -> list[list[str]]:
    """Return a row for each round: crystals, formulas, prototypes, and the commonest elements.

    Args:
        rounds: Number of a round to the crystals that were chosen in it.
    """
    rows = []
    for number, crystals in rounds.items():
        formulas = {reduced_formula(crystal) for crystal in crystals}
        kinds = Counter(prototype(crystal) for crystal in crystals)
        elements = list(element_shares(crystals).items())[:6]
        first = f"{kinds.most_common(1)[0][0]} ({kinds.most_common(1)[0][1]})" if kinds else ""
        rows.append(
            [
                str(number),
                str(len(crystals)),
                str(len(formulas)),
                str(len(kinds)),
                first,
                ", ".join(f"{symbol} {share:.0%}" for symbol, share in elements),
            ]
        )
    return rows


def growth_warnings(
    rounds: Mapping[int, Sequence[Crystal]], base: Mapping[str, float] | None = None
) -> list[str]:
    """Return a line for every element of which a round has more than twice the first share.

    It is named if chance alone, with twice the first share, gives so many crystals in one round of
    a hundred at most (binomial distribution).

    Args:
        rounds: Number of a round to the crystals that were chosen in it.
        base: Symbol to share in the data, 0 to 1; None to compare with the first round.
    """
    first = next(iter(rounds.values()), [])
    origin = "the data" if base else f"round {next(iter(rounds), 1)}"
    worst: dict[str, tuple[float, int]] = {}
    for number, crystals in rounds.items():
        for symbol, share in element_shares(crystals).items():
            count = round(share * len(crystals))
            grown = _grown(count, len(crystals), _first_share(symbol, base, first))
            if grown and share > worst.get(symbol, (0.0, 0))[0]:
                worst[symbol] = share, number
    shares = base or element_shares(first)
    return [
        f"{symbol} is in {share:.0%} of the crystals of round {number}, and in "
        f"{shares.get(symbol, 0.0):.1%} of {origin}"
        for symbol, (share, number) in sorted(worst.items(), key=lambda item: -item[1][0])
    ]


def _first_share(symbol: str, base: Mapping[str, float] | None, first: Sequence[Crystal]) -> float:
    """Return the share at first; of the few crystals of a round with one more that has it."""
    if base:
        return base.get(symbol, 0.0)
    shares = element_shares(first)
    return (shares.get(symbol, 0.0) * len(first) + 1) / (len(first) + 1)


def _grown(count: int, total: int, share: float) -> bool:
    few = count < _FEWEST or count <= GROWTH * share * total
    return not few and float(binom.sf(count - 1, total, min(GROWTH * share, 1.0))) < _CHANCE


def shares_figure(rounds: Mapping[int, Sequence[Crystal]]) -> go.Figure:
    """Draw the share of the crystals of each round that hold an element."""
    shares = {number: element_shares(crystals) for number, crystals in rounds.items()}
    most: dict[str, float] = {}
    for of_round in shares.values():
        for symbol, share in of_round.items():
            most[symbol] = max(most.get(symbol, 0.0), share)
    commonest = sorted(most, key=lambda symbol: -most[symbol])[:_SHOWN]
    elements = sorted(commonest, key=chemical_symbols.index)
    grid = np.array([[of.get(symbol, 0.0) for symbol in elements] for of in shares.values()])
    figure = go.Figure(
        go.Heatmap(
            x=elements, y=[str(number) for number in shares], z=100 * grid, colorscale="Blues",
            zmin=0, colorbar={"title": "% of crystals"},
            hovertemplate="%{x}, round %{y}: %{z:.0f} %<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="element", type="category")
    figure.update_yaxes(title="round", type="category", autorange="reversed")
    return figure
