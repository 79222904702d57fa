"""Settings of the search for coordinates: how many starts, steps and hops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

SEARCHES = ("fast", "thorough", "exhaustive", "dense", "paper")  # of configs/reconstruction
DistanceTerm = Literal["overlap", "entry"]


@dataclass(frozen=True)
class Round:
    """One descent of a wave.

    Attributes:
        keep: Walkers per crystal that enter it, best first by the round before.
        iterations: Adam steps; with 0 the round only picks the walkers that enter the next one.
        lr: First step length, Angstrom; it falls to nothing along a cosine.
        reach: Radius of the objective, Angstrom; None for the whole descriptor.
        largest_eta: Narrowest Gaussians of the objective; None for all.
        symmetric: Walkers with a symmetry keep it: their free parameters descend, and no atom alone
            (:mod:`pyg_crysdiff.structrepdiff.orbits`).
    """

    keep: int
    iterations: int
    lr: float
    reach: float | None = None
    largest_eta: float | None = None
    symmetric: bool = False


@dataclass(frozen=True)
class Search:
    """Settings of a reconstruction.

    Every wave descends from fresh starts and from hops away from the best walkers so far; the
    rounds of a wave go from wide Gaussians to narrow ones and halve the number of walkers. A
    crystal whose loss falls below the tolerance leaves the search.

    Attributes:
        waves: Number of waves.
        fresh: Fresh starts of a wave, per crystal: first wave, later waves.
        focused: Starts of every second wave, which has nothing else: all of one space group, and
            each time of another one, frequent ones first. 0 for no such waves.
        hops: Hops of a later wave, per crystal.
        rounds: Descents of a wave.
        polish: Descent of the best walkers at the end; None for none.
        population: Best walkers that are kept, per crystal.
        starts: Kinds of starts, taken in turn (:mod:`pyg_crysdiff.structrepdiff.starts`).
        moves: Kinds of hops, taken at random (:mod:`pyg_crysdiff.structrepdiff.moves`).
        step: Largest displacement of a jump along each axis, Angstrom.
        symmetric_hops: Share of the hops from symmetric walkers that keep the symmetry.
        free_penalty: Share by which the loss of walkers without a symmetry counts as larger where
            walkers are ranked. They fit the noise of a generated representation best.
        freedom_penalty: The same for every walker, times the free parameters of its symmetry as a
            share of all 3 N coordinates: the fewer there are, the less noise they fit.
        bounds: Weight by which a descent pulls back every atom whose entries lie outside of the
            wanted extremes (:class:`Objective`). Walkers are ranked without it.
        exchanges: Exchanges of species that are tried on the best walkers after every wave, per
            walker, without a descent; each counts as an evaluation.
        tolerance: Loss at which a crystal counts as reconstructed.
        root: Compare square roots of the descriptor.
        chains: Every fresh start is a chain of basin hopping by itself: in every later wave each
            hops once, and stays where it was unless the hop leads lower. Otherwise all hops
            compete for the places of the population. Takes one round, and no exchanges.
        distance: How the smallest distance enters the loss: as a penalty of ``overlap``, or as an
            ``entry`` of the vector like any other (:class:`Objective`).
        composition_error: Noise of generated compositions, in units of their spread, for which the
            most probable known counts are taken
            (:class:`pyg_crysdiff.structrepdiff.composition.KnownCounts`); 0 rounds fractions.
        cell_tolerance: Largest change of a generated cell that makes it symmetric, relative to its
            lengths; 0 for none (:func:`pyg_crysdiff.structrepdiff.snapping.symmetric_cell`).
        snap: Distance up to which the sites of a generated crystal are moved to where a space
            group has them, Angstrom; 0 for none
            (:mod:`pyg_crysdiff.structrepdiff.finishing`).
        snap_slack: How much larger the loss may be then, as a share of what it was.
    """

    waves: int = 5
    fresh: tuple[int, int] = (50, 30)
    focused: int = 0
    hops: int = 20
    rounds: tuple[Round, ...] = (
        Round(50, 20, 0.2, 12.0, 1.0),
        Round(16, 60, 0.15, 12.0, 4.0),
        Round(8, 40, 0.05, 7.0),
    )
    polish: Round | None = Round(2, 60, 0.02, 9.0)
    population: int = 8
    starts: tuple[str, ...] = ("symmetric", "symmetric", "symmetric", "spread")
    moves: tuple[str, ...] = ("swap", "relocate", "jump")
    step: float = 0.8
    symmetric_hops: float = 0.0
    free_penalty: float = 0.0
    freedom_penalty: float = 0.0
    bounds: float = 0.0
    exchanges: int = 40
    tolerance: float = 0.004
    root: bool = True
    chains: bool = False
    distance: DistanceTerm = "overlap"
    composition_error: float = 0.0
    cell_tolerance: float = 0.0
    snap: float = 0.0
    snap_slack: float = 0.15

    def __post_init__(self) -> None:
        if self.waves < 1 or not self.rounds or self.fresh[0] < 1:
            raise ValueError("a search needs at least one wave, one round and one fresh start")
        if self.waves > 1 and self.fresh[1] + self.hops < 1:
            raise ValueError("later waves of a search need fresh starts or hops")
        if self.distance not in get_args(DistanceTerm):
            raise ValueError(
                f"distance must be one of {get_args(DistanceTerm)}, got {self.distance!r}"
            )
        if not 0 <= self.symmetric_hops <= 1:
            raise ValueError(f"symmetric_hops must be within 0 and 1, got {self.symmetric_hops}")
        tolerances = (self.composition_error, self.cell_tolerance, self.snap, self.snap_slack)
        penalties = (self.free_penalty, self.freedom_penalty)
        if min(*tolerances, *penalties, self.bounds, self.focused) < 0:
            raise ValueError(
                "tolerances, penalties, bounds and starts of a search must not be negative"
            )
        if self.chains and not (
            len(self.rounds) == 1
            and self.exchanges == self.focused == 0
            and self.fresh == (self.population, 0)
            and self.hops == self.population <= self.rounds[0].keep
        ):
            raise ValueError(
                "a search in chains has one round that keeps all, no exchanges, and as many first "
                "starts and hops of a wave as its population, and no later starts"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Search:
        """Build from plain containers, as in ``configs/reconstruction``.

        Raises:
            ValueError: If a key is unknown or missing, or a value is bad.
        """
        options = dict(config)
        try:
            rounds = tuple(Round(**r) for r in options.pop("rounds"))
            polish = options.pop("polish")
            for name in ("fresh", "starts", "moves"):
                options[name] = tuple(options[name])
            return cls(rounds=rounds, polish=None if polish is None else Round(**polish), **options)
        except (KeyError, TypeError) as error:
            raise ValueError(f"bad reconstruction settings: {error}") from error
