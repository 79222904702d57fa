"""``crysdiff hull``, with ASE's effective-medium potential as the judge."""

import json

import numpy as np
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.hull import HullFile

EMT = "ase:ase.calculators.emt.EMT"


def metal(number, edge, **info):
    """A face-centred metal."""
    cell = edge / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
    return Crystal(cell, np.zeros((1, 3)), np.array([number]), info)


def alloy(one, other, edge, **info):
    """Two metals as in cesium chloride."""
    frac = np.array([[0.0] * 3, [0.5] * 3])
    return Crystal(np.eye(3) * edge, frac, np.array([one, other]), info)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with known crystals and samples, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path / "cache"))
    known = [
        metal(29, 3.7, e_above_hull=0.0), metal(79, 4.2, e_above_hull=0.0),
        metal(46, 3.8, e_above_hull=0.0), alloy(29, 79, 3.1, e_above_hull=0.2),
        alloy(29, 79, 3.4, e_above_hull=0.1), alloy(29, 46, 3.0, e_above_hull=0.0),
    ]  # fmt: skip
    write_extxyz(known, "known.extxyz")
    write_extxyz([alloy(29, 79, 3.0), alloy(79, 29, 3.2)], "samples.extxyz")
    return tmp_path


def run(*words, known="known.extxyz"):
    main(["hull", known, "--judge", EMT, "--workers", "0", *words])


def test_the_hull_of_the_samples_systems(files, capsys):
    run("--systems", "samples.extxyz", "--out", "hull.json")
    said = capsys.readouterr().out
    assert "4 of 6 known crystals lie in the samples' systems" in said
    assert "a hull of the unrelaxed energies would lie higher by" in said
    assert "hull.json: 4 phases by ase:ase.calculators.emt.EMT" in said
    hull = HullFile.read("hull.json")
    assert {"".join(p.composition) for p in hull.phases} == {"Cu", "Au", "CuAu"}
    assert hull.facts["systems"] == ["samples.extxyz"]
    assert hull.facts["bias"]["phases"]["mean"] > 0.01
    assert hull.settings == {"steps": 500, "fmax": 0.05, "smax": 0.4, "cell": True}
    for phase in hull.phases:
        assert phase.energy <= phase.energy_unrelaxed


def test_shards_fill_the_cache_and_the_hull_is_that_of_one_job(files, capsys, monkeypatch):
    for part in ("0/2", "1/2"):
        run("--all", "--shard", part, "--out", "hull.json.gz")
    assert not (files / "hull.json.gz").exists()
    assert "part 1/2: energies of 3 known crystals" in capsys.readouterr().out
    run("--all", "--out", "shards.json")
    monkeypatch.setenv("CRYSDIFF_CACHE", str(files / "other"))
    run("--all", "--out", "one.json")
    assert (files / "shards.json").read_bytes() == (files / "one.json").read_bytes()


def test_the_lowest_alone_and_as_they_are(files, capsys):
    run("--all", "--lowest", "1", "--unrelaxed")
    assert "5 of them: elements, and the 1 lowest of each compound (6)" in capsys.readouterr().out
    hull = HullFile.read("hull-ase-ase.calculators.emt.EMT.json.gz")
    assert hull.settings == {"steps": 0}
    assert hull.facts["lowest"] == 1
    (alloyed,) = [p for p in hull.phases if set(p.composition) == {"Cu", "Au"}]
    assert alloyed.energy == alloyed.energy_unrelaxed


def test_a_missing_element_is_told(files, capsys):
    write_extxyz([alloy(29, 47, 3.0)], "samples.extxyz")
    run("--systems", "samples.extxyz", "--out", "hull.json")
    assert "no crystal of the element: Ag" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the samples with --systems FILE, or take --all"),
        (["--all", "--systems", "samples.extxyz"], "name the samples"),
        (["--all", "--shard", "2/2"], "--shard must look like"),
        (["--systems", "far.extxyz"], "no known crystal lies in the 1 systems"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(files, words, message, capsys):
    write_extxyz([metal(6, 3.6)], "far.extxyz")
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_known_crystals_that_are_not_there(files, capsys):
    with pytest.raises(SystemExit):
        run("--all", known="nothing.extxyz")
    assert "nothing.extxyz: neither a data set" in capsys.readouterr().err


def test_the_file_is_plain_json(files):
    run("--all", "--out", "hull.json")
    content = json.loads((files / "hull.json").read_text())
    assert set(content["entries"][0]) == {"composition", "energy", "id", "energy_unrelaxed"}
