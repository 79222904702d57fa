"""Hulls: energies by hand, the files of phases, and hulls made of known crystals."""

import json
import math

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition, Element
from pymatgen.entries.computed_entries import ComputedEntry

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.hull import Hull, HullFile, Phase, composition_of, read_entries
from pyg_crysdiff.evaluation.known_phases import (
    bias_of,
    chemical_systems,
    distinct,
    elements_without_phase,
    in_systems,
    lowest_of_composition,
    make_hull,
)
from pyg_crysdiff.relaxation import RelaxSettings
from tests.toys import STIFF, VOLUME, ground, toy


def crystal(*numbers, volume=VOLUME, **info):
    """A cubic crystal with a volume per atom."""
    frac = np.linspace(0, 0.9, len(numbers))[:, None].repeat(3, 1)
    edge = (volume * len(numbers)) ** (1 / 3)
    return Crystal(np.eye(3) * edge, frac, np.array(numbers), info)


def entry(formula, per_atom):
    composition = Composition(formula)
    return PDEntry(composition, per_atom * composition.num_atoms)


def test_binary_tie_line_by_hand():
    # Na -1, Cl -2, NaCl -3 eV/atom; a second, higher Na must not matter
    hull = Hull([entry("Na", -1), entry("Na", -0.5), entry("Cl", -2), entry("NaCl", -3)])
    assert hull.energy_above(crystal(11, 17), -2.7) == pytest.approx(0.3)
    assert hull.energy_above(crystal(11), -1.2) == pytest.approx(-0.2)
    # Na3Cl = half Na2, half NaCl (by atoms): (-1 - 3) / 2
    assert hull.energy_at(Composition("Na3Cl")) == pytest.approx(-2.0)
    assert hull.energy_above(crystal(11, 11, 11, 17), -1.9) == pytest.approx(0.1)


def test_ternary_plane_by_hand():
    # Li -1, O -2, Ti -3; Li2O -3, TiO2 -5 and LiTiO2 -5 eV/atom
    phases = {"Li": -1, "O": -2, "Ti": -3, "Li2O": -3, "TiO2": -5, "LiTiO2": -5}
    hull = Hull([entry(formula, energy) for formula, energy in phases.items()])
    # Li2TiO3 lies on the line from Li2O (3 atoms) to TiO2 (3): (3 * -3 + 3 * -5) / 6 = -4. It
    # lies also in the triangle O, Li2O, LiTiO2: 2 Li2TiO3 = Li2O + 2 LiTiO2 + O: 3 * -3 + 8 * -5
    # + 1 * -2 = -51 of 12 atoms, which is lower
    assert hull.energy_at(Composition("Li2TiO3")) == pytest.approx(-51 / 12)
    assert hull.energy_above(crystal(3, 3, 22, 8, 8, 8), -4.2) == pytest.approx(0.05)


def test_a_crystal_is_placed_against_the_hull_without_itself():
    hull = Hull([entry("Na", -1), entry("Cl", -2), entry("NaCl", -3)])
    assert hull.energy_above(crystal(11, 17), -3.4) == pytest.approx(-0.4)
    assert hull.energy_above(crystal(11, 17), -3.0) == pytest.approx(0.0)
    assert hull.energy_above(crystal(11, 17), -3.4) == pytest.approx(-0.4)  # nor is it one now


def test_unknown_systems_and_energies_are_nan():
    hull = Hull([entry("Na", -1), entry("NaO", -3)])
    assert math.isnan(hull.energy_above(crystal(11, 8), -3.0))  # no oxygen
    assert math.isnan(hull.energy_above(crystal(11), float("nan")))
    assert hull.knows(frozenset({"Na"}))
    assert not hull.knows(frozenset({"Na", "O"}))


def test_a_system_of_many_elements_sees_all_its_subsystems():
    symbols = [str(Composition({z: 1}).elements[0]) for z in ("Li", "Be", "B", "C", "N", "O", "F",
               "Na", "Mg", "Al", "Si")]  # fmt: skip
    elements = [entry(symbol, -1.0) for symbol in symbols]
    numbers = (3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)
    hull = Hull([*elements, entry("LiF", -2.0)])
    expected = (9 * -1.0 + 2 * -2.0) / 11
    assert hull.energy_above(crystal(*numbers), 0.0) == pytest.approx(-expected)
    assert hull.energy_above(crystal(*numbers[:8]), 0.0) == pytest.approx((6 + 4) / 8)


def test_linear_programming_gives_the_energy_of_the_hull(monkeypatch):
    """In systems of many elements; here it is held against pymatgen's hull of few."""
    rng = np.random.default_rng(0)
    elements = ["Li", "O", "Fe", "S"]
    entries = [PDEntry(Composition(x), float(rng.normal())) for x in elements]
    for _ in range(25):
        amounts = dict(zip(elements, rng.integers(0, 4, 4) + np.eye(4, dtype=int)[0], strict=True))
        composition = Composition(amounts)
        entries.append(PDEntry(composition, float(rng.normal(-1)) * composition.num_atoms))
    asked = [Composition(dict(zip(elements, x, strict=True))) for x in rng.integers(1, 9, (20, 4))]
    whole = [Hull(entries).energy_at(one) for one in asked]
    monkeypatch.setattr("pyg_crysdiff.evaluation.hull._MOST_ELEMENTS", 1)
    assert [Hull(entries).energy_at(one) for one in asked] == pytest.approx(whole, abs=1e-8)


def test_a_system_of_twenty_elements_takes_no_time():
    elements = [Element.from_Z(z).symbol for z in range(3, 23)]
    entries = [PDEntry(Composition(x), -1.0) for x in elements]
    entries.append(PDEntry(Composition("LiNa"), -6.0))
    found = Hull(entries).energy_at(Composition(dict.fromkeys(elements, 1)))
    assert found == pytest.approx((-6.0 - 18.0) / 20)


def test_a_hull_file_comes_back_as_it_was(tmp_path):
    phases = [Phase({"Na": 2.0}, -2.6, -2.5, "mp-1"), Phase({"Na": 1.0, "Cl": 1.0}, -6.0)]
    written = HullFile(
        phases, "toy 1", {"steps": 5}, "own", source="demo", facts={"failed": 3, "lowest": None}
    )
    for name in ("hull.json", "hull.json.gz"):
        written.write(tmp_path / name)
        found = HullFile.read(tmp_path / name)
        assert (found.judge, found.scheme, found.source) == ("toy 1", "own", "demo")
        assert found.settings == {"steps": 5}
        assert found.facts == {"failed": 3, "lowest": None}
        assert found.phases[0] == phases[0]
        assert math.isnan(found.phases[1].energy_unrelaxed)
        assert found.digest
    first = (tmp_path / "hull.json.gz").read_bytes()
    written.write(tmp_path / "hull.json.gz")
    assert (tmp_path / "hull.json.gz").read_bytes() == first
    assert read_entries(tmp_path / "hull.json")[0].energy_per_atom == pytest.approx(-1.3)


def test_a_hull_without_phases_knows_nothing(tmp_path):
    HullFile([], "toy 1", {"steps": 5}).write(tmp_path / "hull.json")
    assert math.isnan(HullFile.read(tmp_path / "hull.json").hull().energy_above(crystal(11), -1.0))


def test_lists_of_pymatgen_entries_load(tmp_path):
    file = tmp_path / "entries.json"
    entries = [entry("Na", -1), entry("NaCl", -3)]
    file.write_text(json.dumps([e.as_dict() for e in entries]))
    found = HullFile.read(file)
    assert (found.judge, found.settings, found.scheme) == ("", {}, "")
    assert [p.entry().energy for p in found.phases] == [-1.0, -6.0]


def test_corrections_of_computed_entries_count(tmp_path):
    file = tmp_path / "entries.json"
    entries = [ComputedEntry("Na2O", -9.0, correction=-0.687), ComputedEntry("Na", -1.3)]
    content = {"scheme": "MP2020", "entries": [json.loads(e.to_json()) for e in entries]}
    file.write_text(json.dumps(content))
    found = HullFile.read(file)
    assert found.scheme == "MP2020"
    assert [p.entry().energy for p in found.phases] == pytest.approx([-9.687, -1.3])
    assert [p.entry().energy for p in found.phases] == pytest.approx([e.energy for e in entries])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"entries": []}, "no entries"),
        ({"entries": {"composition": "Na"}}, "JSON list of entries, not a dict"),
        ({"entries": [{"composition": "Na"}]}, "entry 0"),
        ({"entries": [{"composition": "Na", "energy": -1}], "settings": [1]}, "settings an object"),
        ({"entries": [{"composition": "Na", "energy": -1}], "judge": 3}, "must be texts"),
        ({"judge": "x"}, "JSON list of entries, not a dict"),
    ],
)  # fmt: skip
def test_bad_hull_files_are_named(content, message, tmp_path):
    file = tmp_path / "hull.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        HullFile.read(file)
    assert str(file) in str(caught.value)


KNOWN = [
    crystal(29, volume=18), crystal(79, volume=17), crystal(29, 79, volume=16),
    crystal(29, 79, volume=19), crystal(46), crystal(46, 79), crystal(29, 46, 79, volume=20),
]  # fmt: skip


def test_a_hull_is_made_of_relaxed_energies_and_knows_the_others(tmp_path):
    settings = RelaxSettings()
    hull = make_hull(
        [*KNOWN, KNOWN[0]], toy(), settings, source="known", cache_dir=tmp_path, num_workers=0
    )
    assert len(hull.phases) == len(KNOWN)  # what is given twice is one phase
    assert (hull.judge, hull.settings) == ("toy 1", settings.key)
    assert hull.facts == {"failed": 0, "not_converged": 0}
    for phase, known in zip(hull.phases, KNOWN, strict=True):
        size = len(known)
        strain = known.volume / size - VOLUME
        assert phase.energy / size == pytest.approx(ground(known), abs=2e-3)
        before = ground(known) + STIFF * strain**2
        assert phase.energy_unrelaxed / size == pytest.approx(before, abs=1e-6)


def test_bias_of_unrelaxed_energies_by_hand(tmp_path):
    hull = make_hull(KNOWN, toy(), RelaxSettings(fmax=1e-3, smax=1e-3), source="", num_workers=0)
    bias = bias_of(hull, [crystal(29, 79), crystal(79, 29), crystal(8), crystal(29)])
    gains = [STIFF * (c.volume / len(c) - VOLUME) ** 2 for c in KNOWN]
    np.testing.assert_allclose(bias.gains, gains, atol=1e-4)
    # CuAu: its phase of 16 A^3 is .01 too high; Cu: 18 A^3, .09; there is no oxygen
    np.testing.assert_allclose(sorted(bias.hull), [0.01, 0.09], atol=1e-4)
    assert "0.0500 eV/atom (median 0.0500, largest 0.090; 2 compositions)" in bias.lines()[1]
    assert bias.facts()["hull"]["count"] == 2


def test_unrelaxed_hulls_and_failed_crystals(tmp_path):
    known = [*KNOWN, crystal(54)]
    hull = make_hull(known, toy(), RelaxSettings(steps=0), source="", num_workers=0)
    assert hull.settings == {"steps": 0}
    assert hull.facts == {"failed": 1, "not_converged": 0}
    assert [p.energy for p in hull.phases] == [p.energy_unrelaxed for p in hull.phases]
    assert elements_without_phase(hull, chemical_systems([crystal(54, 29)])) == ["Xe"]


def test_the_systems_of_samples_hold_their_subsystems_and_elements():
    samples = [crystal(29, 79, 79), crystal(0, 29), crystal(46)]
    systems = chemical_systems(samples)
    assert systems == {frozenset({29, 79}), frozenset({46})}
    assert in_systems(KNOWN, systems) == KNOWN[:5]
    assert in_systems(KNOWN, {frozenset({29, 46, 79, 8})}) == KNOWN
    assert in_systems(KNOWN, set()) == []


def test_the_lowest_of_each_composition():
    known = [
        crystal(29, 79, formation_energy_per_atom=0.3),
        crystal(29, 29, 79, 79, formation_energy_per_atom=0.1),
        crystal(79, 29, formation_energy_per_atom=0.2, e_above_hull=float("nan")),
        crystal(29, formation_energy_per_atom=0.5),
        crystal(29),
        crystal(29, 29, formation_energy_per_atom=0.7),
        crystal(29, 46),
    ]
    assert lowest_of_composition(known, 1) == [known[1], *known[3:]]  # all of an element
    assert lowest_of_composition(known, 2) == known[1:]
    with pytest.raises(ValueError, match="carry none of e_above_hull, formation_energy_per_atom"):
        lowest_of_composition(KNOWN, 1)


def test_distinct_keeps_the_first_of_equal_crystals_in_order():
    again = crystal(29, volume=18, name="again")
    assert distinct([*KNOWN[:2], again]) == KNOWN[:2]


def test_composition_counts_atoms():
    assert composition_of(crystal(79, 29, 79)) == Composition("CuAu2")
