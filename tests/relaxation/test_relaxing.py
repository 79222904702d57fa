"""Relaxations with the toy potential: minima, records, order, storage, failures, symmetry."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation import (
    Relaxation,
    RelaxSettings,
    find_judge,
    relax,
    relaxing,
    right_handed,
    single_points,
)
from pyg_crysdiff.relaxation.potentials import GPA
from pyg_crysdiff.testing.potential import PairCalculator, pair_point, toy_judge

TOY = toy_judge()
TIGHT = RelaxSettings(fmax=1e-3, smax=1e-3)
FAILING = {
    "einsteinium": (Crystal(4 * np.eye(3), [[0, 0, 0]], [99]), "does not know Es"),
    "far apart": (Crystal(20 * np.eye(3), [[0, 0, 0]], [8]), "no neighbour"),
    "not finite": (Crystal(np.nan * np.eye(3), [[0, 0, 0]], [8]), "not finite"),
    "flat": (Crystal(np.diag([3.0, 3.0, 0.0]), [[0, 0, 0]], [8]), "flat"),
    "empty": (Crystal(np.eye(3), np.zeros((0, 3)), []), "no atoms"),
    "collapsed": (Crystal(0.5 * np.eye(3), [[0, 0, 0]], [8]), "collapsed"),
}


def alloy(rng: np.random.Generator, shake: float = 0.15) -> Crystal:
    """L1_2, a close-packed order and so a minimum of every pair potential, shaken."""
    cell = 3.7 * (np.eye(3) + shake / 3 * rng.normal(size=(3, 3)))
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    frac = sites + shake / 3 * rng.normal(size=(4, 3))
    return Crystal(cell, frac, [79, 29, 29, 29], {"name": "alloy"})


@pytest.fixture
def crystals(rng) -> list[Crystal]:
    return [alloy(rng) for _ in range(5)]


def equal(a: Relaxation, b: Relaxation, tolerance: float = 0.0) -> bool:
    x, y = a.to_dict(), b.to_dict()
    if tolerance == 0:
        return x == y
    close = np.isclose(a.energy, b.energy, atol=tolerance, equal_nan=True)
    return bool(close) and x["problem"] == y["problem"] and x["converged"] == y["converged"]


def test_a_minimum_is_the_one_that_ase_finds(crystals):
    for crystal, found in zip(crystals, relax(crystals, TOY, TIGHT, num_workers=0), strict=True):
        atoms = crystal.to_ase()
        atoms.calc = PairCalculator()
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
        assert found.converged
        assert found.energy == pytest.approx(atoms.get_potential_energy() / 4, abs=1e-5)
        assert found.crystal.volume == pytest.approx(atoms.get_volume(), rel=1e-3)


def test_a_record_says_what_the_relaxed_crystal_is(crystals):
    (found,) = relax(crystals[:1], TOY, num_workers=0)
    before, after = pair_point(crystals[0]), pair_point(found.crystal)
    assert found.energy == pytest.approx(after.energy / 4)
    assert found.energy_before == pytest.approx(before.energy / 4)
    assert found.energy < found.energy_before
    assert found.max_force == pytest.approx(np.linalg.norm(after.forces, axis=1).max())
    assert found.max_force <= 0.05
    assert found.max_stress == pytest.approx(np.abs(after.stress).max() / GPA)
    assert found.max_stress <= 0.4
    assert found.volume_change == pytest.approx(found.crystal.volume / crystals[0].volume - 1)
    assert found.judge == "toy 1"
    assert found.crystal.info == {"name": "alloy"}
    assert found.crystal.atomic_numbers.tolist() == [79, 29, 29, 29]
    assert 0 < found.moved < 1
    assert 0 < found.steps < 50


@pytest.mark.parametrize("settings", [RelaxSettings(), RelaxSettings(cell=False)])
def test_a_batch_is_one_by_one(crystals, settings):
    together = relax(crystals, TOY, settings, num_workers=0)
    small = relax(crystals, TOY, settings, num_workers=0, batch_atoms=3)
    alone = [relax([crystal], TOY, settings, num_workers=0)[0] for crystal in crystals]
    for a, b, c in zip(together, small, alone, strict=True):
        assert equal(a, b)
        assert equal(a, c)


def test_without_the_cell_it_stays(crystals):
    for crystal, found in zip(
        crystals, relax(crystals, TOY, RelaxSettings(cell=False), num_workers=0), strict=True
    ):
        assert np.array_equal(found.crystal.lattice, right_handed(crystal).lattice)
        assert found.converged
        assert found.volume_change == 0


def test_single_points_leave_crystals_as_they_are(crystals):
    for crystal, found in zip(crystals, single_points(crystals, TOY, num_workers=0), strict=True):
        assert found.steps == found.moved == found.volume_change == 0
        assert found.energy == found.energy_before
        assert found.energy == pytest.approx(pair_point(crystal).energy / 4)


def test_too_few_steps_leave_it_unconverged(crystals):
    (found,) = relax(crystals[:1], TOY, RelaxSettings(steps=1, fmax=1e-9), num_workers=0)
    assert not found.converged
    assert found.problem == ""
    assert found.steps == 1
    assert found.crystal is not None


def test_the_energy_never_rises(rng):
    crystal = alloy(rng, shake=0.5)
    energies = [
        relax([crystal], TOY, RelaxSettings(steps=n, fmax=1e-6, smax=1e-6), num_workers=0)[0].energy
        for n in range(12)
    ]
    assert np.all(np.diff(energies) <= 2e-5)


@pytest.mark.parametrize("name", FAILING)
def test_a_crystal_that_fails_takes_no_other_with_it(name, crystals):
    bad, reason = FAILING[name]
    found = relax([*crystals[:2], bad, *crystals[2:]], TOY, num_workers=0)
    assert reason in found[2].problem
    assert found[2].crystal is None
    assert not found[2].converged
    assert np.isnan(found[2].energy)
    good = relax(crystals, TOY, num_workers=0)
    for a, b in zip([*found[:2], *found[3:]], good, strict=True):
        assert equal(a, b)


def test_a_cell_that_flies_apart_is_set_aside():
    pressed = Crystal(1.2 * np.eye(3), [[0, 0, 0]], [3])
    (found,) = relax([pressed], TOY, num_workers=0)
    assert "times its volume" in found.problem
    assert np.isfinite(found.energy_before)


def test_a_hole_of_the_potential_is_set_aside(crystals):
    greedy = replace(TOY, lowest=0.0)
    (found,) = relax(crystals[:1], greedy, num_workers=0)
    assert "hole of the potential" in found.problem


def test_left_handed_cells_relax_to_the_same(crystals):
    order = [1, 0, 2]
    left = [Crystal(c.lattice[order], c.frac_coords[:, order], c.atomic_numbers) for c in crystals]
    assert np.linalg.det(left[0].lattice) * np.linalg.det(crystals[0].lattice) < 0
    for a, b in zip(
        relax(crystals, TOY, num_workers=0), relax(left, TOY, num_workers=0), strict=True
    ):
        assert a.energy == pytest.approx(b.energy, abs=1e-9)
        assert a.moved == pytest.approx(b.moved, abs=1e-6)
        assert np.linalg.det(b.crystal.lattice) > 0


def test_turned_shifted_and_reordered_crystals_relax_to_the_same(crystals, rng):
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    for crystal in crystals:
        changed = Crystal(
            crystal.lattice @ turn,
            crystal.frac_coords[::-1] + rng.random(3),
            crystal.atomic_numbers[::-1],
        )
        a, b = relax([crystal, changed], TOY, RelaxSettings(steps=8, fmax=1e-9), num_workers=0)
        assert a.energy == pytest.approx(b.energy, abs=1e-9)
        assert a.moved == pytest.approx(b.moved, abs=1e-7)
        assert np.allclose(a.crystal.lattice @ turn, b.crystal.lattice, atol=1e-7)
        shift = b.crystal.frac_coords[::-1] - a.crystal.frac_coords
        assert np.allclose(shift, shift[0], atol=1e-7)


def test_results_are_found_by_content(crystals, tmp_path, monkeypatch):
    first = relax(crystals, TOY, cache_dir=tmp_path, num_workers=0)
    asked = []
    found = relaxing.relax_all
    monkeypatch.setattr(
        relaxing, "relax_all", lambda c, *a, **k: asked.extend(c) or found(c, *a, **k)
    )
    mixed = [crystals[3], crystals[0], crystals[3]]
    again = relax(mixed, TOY, cache_dir=tmp_path, num_workers=0)
    assert asked == []
    assert [r.to_dict() for r in again] == [first[i].to_dict() for i in (3, 0, 3)]
    relax(crystals[:1], TOY, RelaxSettings(fmax=0.01), cache_dir=tmp_path, num_workers=0)
    relax(crystals[:1], replace(TOY, version="2"), cache_dir=tmp_path, num_workers=0)
    assert len(asked) == 2


def test_a_failure_of_the_potential_is_kept_and_one_of_the_machine_is_not(crystals, tmp_path):
    broken = replace(TOY, load=f"{__name__}:broken")
    found = relax(crystals[:3], broken, cache_dir=tmp_path, num_workers=0)
    assert [r.problem for r in found] == ["RuntimeError: out of luck"] * 3
    found = relax(crystals[:3], TOY, cache_dir=tmp_path, num_workers=0)
    assert all(r.problem == "" for r in found)


def broken(device):
    def potential(crystals):
        raise RuntimeError("out of luck")

    return potential


def test_a_batch_that_is_too_large_for_the_memory_is_halved(crystals):
    sizes.clear()
    narrow = replace(TOY, load=f"{__name__}:with_little_memory")
    found = relax(crystals, narrow, num_workers=0)
    for a, b in zip(found, relax(crystals, TOY, num_workers=0), strict=True):
        assert equal(a, b)
    assert sum(size > 2 for size in sizes) <= 3  # it learns


sizes: list[int] = []


def with_little_memory(device):
    def potential(crystals):
        sizes.append(len(crystals))
        if len(crystals) > 2:
            raise MemoryError
        return [pair_point(c) for c in crystals]

    return potential


def test_records_are_json(crystals):
    for record in (
        *relax(crystals[:1], TOY, num_workers=0),
        Relaxation.failed("why\nnot", "toy 1"),
    ):
        text = json.dumps(record.to_dict(), allow_nan=False)
        back = Relaxation.from_dict(json.loads(text))
        assert back.to_dict() == record.to_dict()
    assert back.problem == "why not"


KILLED = """
import sys, time
import numpy as np
from dataclasses import replace
from pathlib import Path
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation import relax
from pyg_crysdiff.testing import potential

slow = potential.PairPotential.__call__
def wait(self, crystals):
    time.sleep(0.05)
    return slow(self, crystals)
potential.PairPotential.__call__ = wait
frac = [[0, 0, 0], [0.5, 0.5, 0.55]]
cells = [Crystal((4 + 0.1 * i) * np.eye(3), frac, [11, 17]) for i in range(8)]
relax(cells, potential.toy_judge(), cache_dir=Path(sys.argv[1]), num_workers=0, batch_atoms=2)
"""


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        for _ in range(600):
            if any(file.stat().st_size for file in tmp_path.rglob("*.jsonl")):
                break
            time.sleep(0.05)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    frac = [[0, 0, 0], [0.5, 0.5, 0.55]]
    cells = [Crystal((4 + 0.1 * i) * np.eye(3), frac, [11, 17]) for i in range(8)]
    asked = []
    found = relaxing.relax_all
    monkeypatch.setattr(
        relaxing, "relax_all", lambda c, *a, **k: asked.extend(c) or found(c, *a, **k)
    )
    after = relax(cells, TOY, cache_dir=tmp_path, num_workers=0)
    assert 0 < len(asked) < 8
    for a, b in zip(after, relax(cells, TOY, num_workers=0), strict=True):
        assert equal(a, b)


def test_judges_that_are_not_there():
    for name in ("mace", "ase", "torchsim", "chgnet:1"):
        with pytest.raises(ValueError, match="unknown judge"):
            find_judge(name)
    with pytest.raises(ModuleNotFoundError, match="no module 'no_such'"):
        find_judge("ase:no_such.Thing")
    with pytest.raises(ValueError, match="has no 'Thing'"):
        find_judge("ase:ase.calculators.emt.Thing")


def test_a_calculator_of_ase_judges_too(crystals):
    judge = find_judge("ase:pyg_crysdiff.testing.potential.PairCalculator")
    for a, b in zip(
        relax(crystals, judge, num_workers=0), relax(crystals, TOY, num_workers=0), strict=True
    ):
        assert equal(a, b) or equal(replace(a, judge="toy 1"), b, 1e-9)
