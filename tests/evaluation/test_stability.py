import gzip
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation import chgnet, stability
from pyg_crysdiff.evaluation.metrics import stability_metrics
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.stability import (
    Hull,
    Stability,
    _kept,
    read_entries,
    rms_moved,
)
from tests.conftest import make_crystal

pytest.importorskip("chgnet", reason="extra stability")


def _crystal(*numbers):
    frac = np.linspace(0, 0.9, len(numbers))[:, None].repeat(3, 1)
    return Crystal(np.eye(3) * 5, frac, np.array(numbers))


def _entry(formula, per_atom):
    composition = Composition(formula)
    return PDEntry(composition, per_atom * composition.num_atoms)


def test_energy_above_hull_equals_the_tie_line_by_hand():
    # Na -1, Cl -2, NaCl -3 eV/atom; a second, higher Na must not matter
    hull = Hull([_entry("Na", -1), _entry("Na", -0.5), _entry("Cl", -2), _entry("NaCl", -3)])
    assert hull.energy_above(_crystal(11, 17), -2.7) == pytest.approx(0.3)
    assert hull.energy_above(_crystal(11), -1.2) == pytest.approx(-0.2)
    # Na3Cl = half Na2, half NaCl (by atoms): (-1 - 3) / 2
    assert hull.energy_above(_crystal(11, 11, 11, 17), -1.9) == pytest.approx(0.1)
    assert np.isnan(hull.energy_above(_crystal(11, 8), -3.0))
    assert np.isnan(hull.energy_above(_crystal(11), float("nan")))


def test_entries_file_is_read_and_bad_entries_are_named(tmp_path):
    file = tmp_path / "hull.json"
    file.write_text(json.dumps([{"composition": {"Na": 2}, "energy": -2.6}]))
    (entry,) = read_entries(file)
    assert entry.energy_per_atom == pytest.approx(-1.3)
    file.write_text(json.dumps([{"composition": "Na", "energy": -1}, {"composition": "Cl"}]))
    with pytest.raises(ValueError, match="entry 1: needs composition and energy"):
        read_entries(file)
    file.write_text("[")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_entries(file)
    with pytest.raises(FileNotFoundError, match="no hull entries"):
        read_entries(tmp_path / "none.json")


def test_distance_moved_ignores_a_common_shift_and_cell_borders():
    before = _crystal(6, 6)
    moved = before.frac_coords + np.array([0.3, 0.0, 0.98])
    moved[1, 0] += 0.04  # 0.2 A, of which each atom takes a half once the mean is removed
    after = Crystal(before.lattice, moved % 1.0, before.atomic_numbers)
    assert rms_moved(before, after) == pytest.approx(0.1)
    assert rms_moved(before, before) == 0.0


def test_stable_unique_novel_counts_all_entries():
    table = pd.DataFrame(
        {
            "e_above_hull": [0.05, 0.05, 0.05, 0.3, np.nan, np.nan],
            "relaxed_energy": [-1.0, -1.0, -1.0, -1.0, -4.0, np.nan],
            "relax_rms": [0.1, 0.1, 0.1, 0.1, 0.6, np.nan],
            "first": [True, False, True, True, True, False],
            "novel": [True, True, False, True, True, False],
        }
    )
    found = stability_metrics(table, Protocol(stability=Stability(), num_bootstrap=0))
    assert found["stable"].value == pytest.approx(3 / 6)
    assert found["sun"].value == pytest.approx(1 / 6)
    assert found["hull_known"].value == pytest.approx(4 / 6)
    assert found["e_above_hull"].value == pytest.approx(0.45 / 4)
    assert found["relaxed_energy"].value == pytest.approx(-8 / 5)
    assert found["relax_rms"].value == pytest.approx(0.2)


def test_finished_work_is_kept_and_a_cut_line_is_done_again(tmp_path, rng):
    crystals = [make_crystal(rng, 2) for _ in range(3)]
    settings = Stability(cache_dir=tmp_path, num_workers=1)
    calls = []

    def work(crystal):
        calls.append(crystal)
        return [float(len(calls))]

    first = list(stability._kept(work, crystals, "x", settings, progress=False))
    assert first == [[1.0], [2.0], [3.0]]
    file = tmp_path / "chgnet-x.jsonl"
    file.write_text(file.read_text()[:-8])  # the last line loses its end
    again = list(stability._kept(work, crystals, "x", settings, progress=False))
    assert again == [[1.0], [2.0], [4.0]]
    assert len(calls) == 4


@pytest.mark.slow
def test_relaxation_of_strained_diamond_goes_downhill_and_unknown_elements_give_nan():
    diamond = Crystal(
        np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.85,
        np.array([[0.0, 0, 0], [0.26, 0.25, 0.25]]),
        np.array([6, 6]),
    )
    after, before, moved, converged = chgnet.relax_summary(diamond, steps=100, fmax=0.1)
    assert after < before - 0.05
    assert after == pytest.approx(-9.0, abs=0.3)
    assert 0 < moved < 0.2
    assert converged == 1.0
    exotic = Crystal(diamond.lattice, diamond.frac_coords, np.array([118, 118]))
    assert np.isnan(chgnet.relax_summary(exotic, steps=5, fmax=0.1)).all()


def test_shards_relax_everything_once(tmp_path, monkeypatch, rng):
    asked = []

    def relax(crystal, steps, fmax):
        asked.append(crystal.digest())
        return [float(len(crystal)), 0.0, 0.1, 1.0]

    monkeypatch.setattr(stability, "relax_summary", relax)
    monkeypatch.setattr(stability, "static", lambda c: [float(c.atomic_numbers.mean())])
    crystals = [make_crystal(rng, 3) for _ in range(7)]
    known = [make_crystal(rng, 1) for _ in range(3)]
    settings = Stability(cache_dir=tmp_path, num_workers=0)
    counts = [stability.relax_shard(crystals, known, settings, (k, 3)) for k in (2, 0, 1)]
    assert counts == [2, 3, 2]
    assert sorted(asked) == sorted(c.digest() for c in crystals)
    columns = stability.stability_columns(crystals, known, settings, progress=False)
    assert len(asked) == 7
    whole = stability.stability_columns(crystals, known, Stability(num_workers=0), progress=False)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, whole[name])
    with pytest.raises(ValueError, match="0 <= k < n"):
        stability.relax_shard(crystals, known, settings, (3, 3))
    with pytest.raises(ValueError, match="cache folder"):
        stability.relax_shard(crystals, known, Stability(), (0, 2))


def test_relaxed_crystals_keep_their_facts_and_are_kept_on_disk(tmp_path, monkeypatch, rng):
    asked = []

    def relax(crystal, steps, fmax):
        """Double the cell and shift the atoms; fail at crystals of one atom."""
        asked.append((crystal.digest(), steps, fmax))
        if len(crystal) == 1:
            return [float("nan")] * 4
        moved = [*(2 * crystal.lattice).ravel(), *(crystal.frac_coords + 0.25).ravel()]
        return [-3.0, -2.0, 0.1, 1.0, *moved]

    monkeypatch.setattr(stability, "relax_whole", relax)
    crystals = [make_crystal(rng, n) for n in (3, 1, 2)]
    crystals[0].info["name"] = "first"
    settings = Stability(steps=7, fmax=0.2, cache_dir=tmp_path, num_workers=0)
    found = stability.relaxed([*crystals, crystals[0]], settings)
    assert len(asked) == 3  # equal crystals are relaxed once
    assert {call[1:] for call in asked} == {(7, 0.2)}
    assert [r.energy for r in (found[0], found[2], found[3])] == [-3.0] * 3
    assert np.isnan(found[1].energy)
    assert found[1].crystal is crystals[1]
    assert found[0].crystal.info["name"] == "first"
    before = stability.right_handed(crystals[2])
    np.testing.assert_allclose(found[2].crystal.lattice, 2 * before.lattice)
    np.testing.assert_allclose(found[2].crystal.frac_coords, before.frac_coords + 0.25)
    file = tmp_path / "chgnet-structures-7-0.2.jsonl"
    file.write_text(file.read_text()[:-9])  # a kill in the last line
    again = stability.relaxed(crystals, settings)
    assert len(asked) == 4
    np.testing.assert_array_equal(again[0].crystal.lattice, found[0].crystal.lattice)
    assert again[2].crystal.digest() == found[2].crystal.digest()


@pytest.mark.slow
def test_the_relaxed_crystal_is_that_of_the_energy():
    cell = 3.7 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
    crystal = Crystal(cell, np.array([[0, 0, 0], [0.48, 0.5, 0.51]]), np.array([3, 9]))
    ((after, energy),) = stability.relaxed([crystal], Stability(steps=30, num_workers=0))
    (static,) = stability.static_energies([after], Stability(num_workers=0))
    assert static == pytest.approx(energy, abs=1e-3)
    assert after.volume > crystal.volume
    np.testing.assert_array_equal(after.atomic_numbers, [3, 9])


def test_a_left_handed_cell_relaxes_downhill():
    # rock salt of lithium and fluorine, too small; once with two cell vectors exchanged
    cell = 3.7 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
    frac = np.array([[0, 0, 0], [0.48, 0.5, 0.51]])
    crystal = Crystal(cell, frac, np.array([3, 9]))
    mirror = Crystal(cell[[1, 0, 2]], frac[:, [1, 0, 2]], np.array([3, 9]))
    assert np.linalg.det(crystal.lattice) * np.linalg.det(mirror.lattice) < 0
    found = stability.relaxations([crystal, mirror], Stability(steps=10, num_workers=0))
    assert (found["relaxed_energy"] < found["initial_energy"] - 0.01).all()
    assert found["relaxed_energy"][0] == pytest.approx(found["relaxed_energy"][1], abs=2e-3)
    assert found["relax_rms"][0] == pytest.approx(found["relax_rms"][1], abs=2e-3)


HOSTILE = {
    "deep": ("[" * 100_000, "not valid JSON"),
    "null": ("null", "must hold a JSON list"),
    "a dict": ('{"composition": "Na", "energy": 1}', "must hold a JSON list"),
    "empty": ("[]", "no entries"),
    "entries null": ("[null]", "entry 0"),
    "a list of numbers": ("[1, 2]", "entry 0"),
    "NaN": ('[{"composition": "Na", "energy": NaN}]', "entry 0: the energy"),
    "endless": ('[{"composition": "Na", "energy": -Infinity}]', "entry 0: the energy"),
    "true": ('[{"composition": "Na", "energy": true}]', "entry 0: the energy"),
    "giant energy": ('[{"composition": "Na", "energy": 1%s}]' % ("0" * 400), "entry 0"),
    "giant number": ('[{"composition": "Na", "energy": 1%s}]' % ("0" * 9000), "not valid JSON"),
    "giant amount": ('[{"composition": {"Na": 1%s}, "energy": 1}]' % ("0" * 400), "entry 0"),
    "amount NaN": ('[{"composition": {"Na": NaN}, "energy": 1}]', "entry 0"),
    "negative amount": ('[{"composition": {"Na": -2}, "energy": 1}]', "entry 0"),
    "no atoms": ('[{"composition": {}, "energy": 1}]', "entry 0"),
    "zero atoms": ('[{"composition": {"Na": 0}, "energy": 1}]', "entry 0"),
    "no element": ('[{"composition": "Xq2", "energy": 1}]', "entry 0"),
    "second": ('[{"composition": "Na", "energy": 1}, {"energy": 1}]', "entry 1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_hulls_are_refused_with_the_entry(kind, tmp_path):
    text, message = HOSTILE[kind]
    file = tmp_path / "hull.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_entries(file)
    assert str(file) in str(caught.value)


def test_bombs_and_torn_archives_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "hull.json.gz"
    file.write_bytes(gzip.compress(b"[" + b" " * 10_000 + b"]"))
    monkeypatch.setattr("pyg_crysdiff.data.archives._ALWAYS_UNPACKED", 1000)
    with pytest.raises(ValueError, match="more than"):
        read_entries(file)
    whole = gzip.compress(
        json.dumps([{"composition": "Na", "energy": k} for k in range(99)]).encode()
    )
    for damaged in (whole[:-20], b"no gzip", whole[:30] + bytes(40) + whole[70:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="not valid JSON"):
            read_entries(file)


def test_a_torn_line_of_the_cache_costs_one_result_only(tmp_path):
    settings = Stability(cache_dir=tmp_path, num_workers=0)
    done = []

    def work(crystal):
        done.append(crystal)
        return [float(len(crystal))]

    crystals = [_crystal(*[6] * n) for n in range(1, 7)]
    kept = partial(_kept, work, tag="static", settings=settings, progress=False)
    first = list(kept(crystals=crystals[:4]))
    file = tmp_path / "chgnet-static.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])  # a kill
    done.clear()
    assert list(kept(crystals=crystals)) == [*first, [5.0], [6.0]]
    assert len(done) == 3
    done.clear()
    list(kept(crystals=crystals))
    assert not done  # what was added after the torn line is found
    file.write_bytes(file.read_bytes() + b'\xff\n[1, 2]\n"x"\n["k", ["a"]]\n[[]]\n')
    assert list(kept(crystals=crystals)) == [*first, [5.0], [6.0]]
    assert not done


def test_results_of_other_settings_are_not_taken(tmp_path):
    settings = Stability(cache_dir=tmp_path, num_workers=0)
    crystals = [_crystal(6)]
    options = {"crystals": crystals, "settings": settings, "progress": False}
    list(_kept(lambda c: [1.0] * 4, tag="relaxation-20-0.12", **options))
    assert list(_kept(lambda c: [2.0] * 4, tag="relaxation-20-0.1", **options)) == [[2.0] * 4]
