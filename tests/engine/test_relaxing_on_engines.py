"""Relaxations by workers that are killed: the records of one process, whatever the engine."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.engine import using_engine
from pyg_crysdiff.relaxation import Relaxation, RelaxSettings, relax
from pyg_crysdiff.relaxation.judges import Judge
from pyg_crysdiff.relaxation.potentials import Point
from pyg_crysdiff.testing.potential import PairPotential, toy_judge

SETTINGS = RelaxSettings(steps=15)
POISON = 80  # an element


class DyingPotential(PairPotential):
    """Kills its process in the third call, if no other has, and wherever it meets the poison."""

    def __init__(self, folder: str, device: str = "cpu") -> None:
        super().__init__(device)
        self.flag, self.calls = Path(folder, "died"), 0

    def __call__(self, crystals):
        self.calls += 1
        if self.calls == 3 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if any(POISON in crystal.atomic_numbers for crystal in crystals):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(crystals)


def dying(folder: Path) -> Judge:
    return replace(toy_judge(), load=f"{__name__}:DyingPotential", options=(str(folder),))


def alloy(rng: np.random.Generator) -> Crystal:
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    cell = 3.7 * (np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
    return Crystal(cell, sites + 0.05 * rng.normal(size=(4, 3)), [79, 29, 29, 29])


@pytest.fixture
def crystals(rng) -> list[Crystal]:
    return [alloy(rng) for _ in range(20)]


def plain(records: list[Relaxation]) -> list[dict]:
    return [record.to_dict() for record in records]


@pytest.mark.parametrize("spec", ["processes:2", "dask:2"])
def test_a_killed_worker_changes_no_record(spec, crystals, tmp_path):
    if spec.startswith("dask"):
        pytest.importorskip("distributed")
    alone = relax(crystals, toy_judge(), SETTINGS, num_workers=0)
    with using_engine(spec):
        found = relax(crystals, dying(tmp_path), SETTINGS, cache_dir=tmp_path / "cache")
    assert (tmp_path / "died").exists()
    assert plain(found) == plain(alone)
    again = relax(crystals, dying(tmp_path), SETTINGS, cache_dir=tmp_path / "cache")
    assert plain(again) == plain(alone)  # kept; nothing is computed


class RoundingPotential(PairPotential):
    """Rounds by its batch, as a network in single precision does."""

    def __call__(self, crystals):
        digits = 6 + sum(map(len, crystals)) % 3
        return [
            Point(p.energy, p.forces.round(digits), p.stress.round(digits))
            for p in super().__call__(crystals)
        ]


@pytest.mark.parametrize("spec", ["serial", "processes:2", "processes:3"])
def test_a_potential_that_rounds_by_its_batch_says_the_same_everywhere(spec, rng):
    judge = replace(toy_judge(), load=f"{__name__}:RoundingPotential", cpu_atoms=20)
    many = [alloy(rng) for _ in range(40)]
    alone = plain(relax(many, judge, SETTINGS, num_workers=0))
    assert alone != plain(relax(many, judge, SETTINGS, num_workers=0, batch_atoms=4))
    with using_engine(spec):
        assert plain(relax(many, judge, SETTINGS)) == alone


@pytest.mark.slow
def test_a_crystal_that_kills_its_worker_is_one_line(crystals, tmp_path):
    (tmp_path / "died").touch()
    bad = replace(crystals[3], atomic_numbers=np.array([POISON, 29, 29, 29]))
    mixed = [*crystals[:3], bad, *crystals[4:]]
    with using_engine("processes:2"):
        found = relax(mixed, dying(tmp_path), SETTINGS)
    assert found[3].crystal is None
    assert "killed its worker" in found[3].problem
    del found[3]
    assert plain(found) == plain(relax([*crystals[:3], *crystals[4:]], toy_judge(), SETTINGS))
