"""Judges over samples: toy potentials with energies by hand, hulls, resumption, bad files."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation import evaluate, stability
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.evaluation.hull import Hull, HullFile, read_entries
from pyg_crysdiff.evaluation.known_phases import make_hull
from pyg_crysdiff.evaluation.metrics import stability_metrics
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.stability import Stability, relax_shard, stability_columns
from pyg_crysdiff.relaxation import RelaxSettings
from tests.toys import ASKED, BOUND, STIFF, VOLUME, ground, toy


def crystal(*numbers, volume=VOLUME, **info):
    """A cubic crystal with a volume per atom."""
    frac = np.linspace(0, 0.9, len(numbers))[:, None].repeat(3, 1)
    edge = (volume * len(numbers)) ** (1 / 3)
    return Crystal(np.eye(3) * edge, frac, np.array(numbers), info)


KNOWN = [crystal(29, volume=18), crystal(79), crystal(29, 79, volume=17), crystal(46)]
STRICT = RelaxSettings(fmax=1e-3, smax=1e-3)


@pytest.fixture
def settings(tmp_path):
    """A toy judge with a hull of relaxed energies."""
    make_hull(KNOWN, toy(), STRICT, source="known", num_workers=0).write(tmp_path / "hull.json")
    return Stability(
        tmp_path / "hull.json", judges=(toy(),), fmax=1e-3, smax=1e-3, num_workers=0,
        cache_dir=tmp_path / "cache",
    )  # fmt: skip


def protocol(settings, **fields):
    options = {"num_bootstrap": 0, "num_workers": 0, "space_groups": False, "progress": False}
    return Protocol(stability=settings, **{**options, **fields})


def test_energies_above_the_hull_before_and_after_by_hand(settings):
    samples = [crystal(29, 79, volume=16), crystal(29, 29, 79), crystal(29, 8), crystal(54)]
    found = stability_columns(samples, [], settings, progress=False)
    np.testing.assert_allclose(found["e_above_hull"][:1], 0.0, atol=1e-4)
    # CuAu on the hull; submitted 1 A^3 per atom away
    np.testing.assert_allclose(found["e_above_hull_submitted"][:1], STIFF, atol=1e-4)
    # Cu2Au is bound as CuAu is; the tie line holds a third of unbound copper
    np.testing.assert_allclose(found["e_above_hull"][1], BOUND / 3, atol=1e-4)
    assert np.isnan(found["e_above_hull"][2])  # no oxygen
    assert found["relaxed_energy"][2] == pytest.approx(ground(samples[2]), abs=1e-4)
    assert np.isnan(found["relaxed_energy"][3])
    assert found["relax_problem"].tolist()[:3] == ["", "", ""]
    assert "xenon" in found["relax_problem"][3]
    np.testing.assert_allclose(found["volume_change"][:2], [-1 / 16, 0.0], atol=1e-3)
    assert found["relax_converged"][:3].tolist() == [1, 1, 1]


def test_an_evaluation_names_judge_hull_and_what_is_unknown(settings, tmp_path):
    samples = [crystal(29, 79, volume=16), BrokenEntry(1, "torn"), crystal(29, 8), crystal(46)]
    found = evaluate(samples, protocol(settings, train=[crystal(46)]))
    (judge,) = found.facts["judges"]
    assert (judge["judge"], judge["settings"]) == ("toy 1", STRICT.key)
    assert judge["hull"]["file"] == str(tmp_path / "hull.json")
    assert (judge["hull"]["judge"], judge["hull"]["phases"]) == ("toy 1", 4)
    assert (judge["crystals"], judge["unknown"], judge["failed"]) == (3, 1, 0)
    assert judge["elements_without_phase"] == ["O"]
    assert found.facts["warnings"] == []
    assert found.metrics["metastable"].value == pytest.approx(2 / 4)
    assert found.metrics["msun"].value == pytest.approx(1 / 4)  # palladium is known
    assert found.metrics["hull_known"].value == pytest.approx(2 / 4)
    relaxed = found.relaxed["toy"]
    assert [c is None for c in relaxed] == [False, True, False, False]
    assert relaxed[0].volume == pytest.approx(2 * VOLUME, rel=1e-3)
    assert found.table["relax_problem"].tolist() == ["", "", "", ""]


def test_relaxed_crystals_and_tables_lie_beside_the_results(settings, tmp_path):
    from pyg_crysdiff.data import read_crystals

    samples = [crystal(29, 79, volume=16), BrokenEntry(1, "torn"), crystal(54), crystal(46)]
    options = protocol(settings, train=[crystal(46)])
    found = scored(tmp_path / "mine", samples, options)
    relaxed = read_crystals(tmp_path / "mine-relaxed.extxyz")
    assert [len(c) for c in relaxed] == [2, 1]
    text = (tmp_path / "mine-relaxed.extxyz").read_text()
    assert "entry=0" in text
    assert "entry=3" in text
    sizes = pd.read_csv(tmp_path / "mine-by_size.csv")
    assert sizes["crystals"].tolist() == [3]
    again = scored(tmp_path / "mine", samples, options, before=pytest.fail)
    assert again.facts == json.loads(json.dumps(found.facts))
    assert again.table["relax_problem"].tolist()[:2] == ["", ""]
    assert "xenon" in again.table["relax_problem"][2]


def test_other_settings_and_hulls_are_scored_anew(settings, tmp_path):
    samples, asked = [crystal(29)], []
    for now in (
        settings,
        settings,
        replace(settings, steps=7),
        replace(settings, judges=(toy("b"),)),
    ):
        scored(tmp_path / "mine", samples, protocol(now), before=lambda: asked.append(1))
    assert len(asked) == 3
    file = tmp_path / "hull.json"
    hull = HullFile.read(file)
    replace(hull, phases=hull.phases[:2]).write(file)
    scored(tmp_path / "mine", samples, protocol(settings), before=lambda: asked.append(1))
    assert len(asked) == 4


def test_without_a_hull_the_known_crystals_as_they_are_favour_the_samples(settings):
    samples = [crystal(29, volume=16)] * 12
    bare = replace(settings, hull=None)
    found = evaluate(samples, protocol(bare, train=KNOWN))
    # the copper that is known lies 3 A^3 per atom from its minimum
    assert found.metrics["e_above_hull"].value == pytest.approx(-9 * STIFF, abs=1e-4)
    assert any("the hull is of unrelaxed energies" in w for w in found.facts["warnings"])
    assert found.facts["judges"][0]["hull"]["file"] is None
    own = evaluate(samples, protocol(settings, train=KNOWN))
    assert own.metrics["e_above_hull"].value == pytest.approx(0.0, abs=1e-4)


def test_several_judges_each_with_a_hull_of_its_own(settings, tmp_path):
    make_hull(KNOWN[:3], toy("b", shift=5.0), STRICT, source="", num_workers=0).write(
        tmp_path / "b.json"
    )
    both = replace(
        settings, judges=(toy(), toy("b", shift=5.0)),
        hull={"toy": tmp_path / "hull.json", "b": tmp_path / "b.json"},
    )  # fmt: skip
    samples = [crystal(29, 29, 79), crystal(46), crystal(29, 79, volume=16)]
    found = evaluate(samples, protocol(both, train=[crystal(46)]))
    table = found.table
    np.testing.assert_allclose(table["e_above_hull@toy"], [BOUND / 3, 0.0, 0.0], atol=2e-4)
    np.testing.assert_allclose(table["e_above_hull@b"], [BOUND / 3, np.nan, 0.0], atol=2e-4)
    # of palladium one judge alone knows a hull: no mean
    np.testing.assert_allclose(table["e_above_hull"], [BOUND / 3, np.nan, 0.0], atol=2e-4)
    np.testing.assert_allclose(table["e_above_hull_spread"], [0.0, np.nan, 0.0], atol=2e-4)
    assert table["e_above_hull_judges"].tolist() == [2, 1, 2]
    assert found.metrics["metastable"].value == pytest.approx(2 / 3)
    assert found.metrics["metastable@toy"].value == 1.0
    assert set(found.relaxed) == {"toy", "b"}
    assert [j["name"] for j in found.facts["judges"]] == ["toy", "b"]


def test_judges_disagree_by_their_hulls(settings, tmp_path):
    phases = [replace(p, energy=p.energy - 0.3 * 2) if len(p.composition) == 2 else p
              for p in HullFile.read(tmp_path / "hull.json").phases]  # fmt: skip
    HullFile(phases, "low 1", STRICT.key).write(tmp_path / "low.json")
    both = replace(
        settings, judges=(toy(), toy("low")),
        hull={"toy": tmp_path / "hull.json", "low": tmp_path / "low.json"},
    )  # fmt: skip
    found = evaluate([crystal(29, 79)], protocol(both))
    assert found.table["e_above_hull"][0] == pytest.approx(0.15, abs=1e-4)
    assert found.metrics["judges_differ"].value == pytest.approx(0.3, abs=1e-4)


def test_hulls_and_judges_must_fit(tmp_path):
    with pytest.raises(ValueError, match="a judge is given twice: toy, toy"):
        Stability(judges=(toy(), toy()))
    with pytest.raises(ValueError, match="whose hull is it"):
        Stability(tmp_path / "h.json", judges=(toy(), toy("b")))
    with pytest.raises(ValueError, match="a hull for c, and the judges are toy"):
        Stability({"c": tmp_path / "h.json"}, judges=(toy(),))
    with pytest.raises(ValueError, match="energies of one's own need a hull"):
        Stability(energies=tmp_path / "e.csv")
    with pytest.raises(ValueError, match="unknown judge"):
        Stability(judges=("oracle",))


def test_a_bad_hull_is_told_before_anything_is_relaxed(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "energies_of", lambda *_, **__: pytest.fail("relaxed"))
    (tmp_path / "hull.json").write_text("[")
    with pytest.raises(ValueError, match="not valid JSON"):
        evaluate([crystal(29)], protocol(settings))


def test_shards_relax_everything_once(settings, tmp_path):
    samples = [crystal(29, volume=v) for v in (14, 16, 17, 18)] + [crystal(29, 79)]
    counts = [relax_shard(samples, KNOWN, settings, (k, 3)) for k in (2, 0, 1)]
    assert counts == [1, 2, 2]
    whole = stability_columns(samples, KNOWN, replace(settings, cache_dir=None), progress=False)
    ASKED.clear()
    found = stability_columns(samples, KNOWN, settings, progress=False)
    assert ASKED == []
    for name, values in found.items():
        np.testing.assert_array_equal(values, whole[name])
    with pytest.raises(ValueError, match="0 <= k < n"):
        relax_shard(samples, KNOWN, settings, (3, 3))
    with pytest.raises(ValueError, match="cache folder"):
        relax_shard(samples, KNOWN, replace(settings, cache_dir=None), (0, 2))


def test_the_older_rates_keep_their_meaning(settings):
    table = pd.DataFrame(
        {
            "e_above_hull": [0.05, 0.05, 0.05, 0.3, np.nan, np.nan],
            "relaxed_energy": [-1.0, -1.0, -1.0, -1.0, -4.0, np.nan],
            "relax_rms": [0.1, 0.1, 0.1, 0.1, 0.6, np.nan],
            "first": [True, False, True, True, True, False],
            "novel": [True, True, False, True, True, False],
        }
    )
    found = stability_metrics(table, Protocol(stability=settings, num_bootstrap=0))
    assert found["stable"].value == pytest.approx(3 / 6)
    assert found["sun"].value == pytest.approx(1 / 6)
    assert found["hull_known"].value == pytest.approx(4 / 6)
    assert found["e_above_hull"].value == pytest.approx(0.45 / 4)
    assert found["relaxed_energy"].value == pytest.approx(-8 / 5)
    assert found["relax_rms"].value == pytest.approx(0.2)


def test_old_settings_still_load(tmp_path):
    pytest.importorskip("chgnet", reason="extra stability")
    found = Stability(hull=tmp_path / "h.json", stable_at=0.05, steps=200, fmax=0.1)
    assert (found.names, found.hull_of("chgnet")) == (["chgnet"], tmp_path / "h.json")
    assert found.settings == RelaxSettings(200, 0.1)
    assert stability.Hull is Hull


def test_the_functions_of_the_last_version_still_work_and_warn(settings):
    samples = [crystal(29, volume=16), crystal(54)]
    with pytest.warns(DeprecationWarning, match="goes with the next release"):
        found = stability.relaxed(samples, settings)
    assert found[0].energy == pytest.approx(ground(samples[0]), abs=1e-4)
    assert found[1].crystal is samples[1]
    with pytest.warns(DeprecationWarning, match="next release"):
        columns = stability.relaxations(samples, settings)
    assert columns["relax_converged"][0] == 1
    with pytest.warns(DeprecationWarning, match="next release"):
        energies = stability.static_energies(samples, settings)
    np.testing.assert_allclose(energies, columns["initial_energy"])
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = stability.colour


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
