"""Jobs of plain values: JSON all the way, and the results of the functions behind them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from pymatgen.core import Structure

import pyg_crysdiff
from pyg_crysdiff import jobs, relaxation
from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import write_extxyz

TOY = "ase:pyg_crysdiff.testing.potential.PairCalculator"
QUICK = {"solver": "renewing", "steps": 3}


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.fixture(scope="module")
def sampled() -> list:
    control = {"allowed": ["Sr", "Ti", "O", "N"]}
    found = jobs.sample(
        "perov5-cds", 4, sampler=QUICK, seed=1, control=control, num_atoms=[5, 5], batch_size=2
    )
    return through_json(found)


def test_samples_are_those_of_the_function(sampled):
    expected = pyg_crysdiff.sample(
        "perov5-cds", 4, sampler=pyg_crysdiff.Sampler(**QUICK), seed=1, num_atoms=(5, 5),
        batch_size=2, control=pyg_crysdiff.Control(allowed=("Sr", "Ti", "O", "N")), progress=False,
    )  # fmt: skip
    for plain, crystal in zip(sampled, expected, strict=True):
        structure = Structure.from_dict(plain)
        np.testing.assert_array_equal(structure.lattice.matrix, crystal.lattice)
        np.testing.assert_array_equal(structure.frac_coords, crystal.frac_coords)
        assert list(structure.atomic_numbers) == crystal.atomic_numbers.tolist()
        assert structure.properties["index"] == crystal.info["index"]
        assert structure.properties["target"] == crystal.info["target"]


def test_a_template_is_plain_too():
    host = load_dataset("demo", "test").crystals()[0]
    template = {"crystal": jobs.as_structure(host), "keep": ["lattice"]}
    (found,) = jobs.sample(
        "perov5-cds", 1, sampler=QUICK, control={"template": template}, num_atoms={"5": 1.0}
    )
    assert Structure.from_dict(found).volume == pytest.approx(host.volume, rel=1e-5)


def test_relaxations_are_those_of_the_function_and_failures_keep_their_place():
    crystals = load_dataset("demo", "test").crystals()[:2]
    far = Crystal(30 * np.eye(3), [[0, 0, 0]], [8])
    given = [jobs.as_structure(crystals[0]), None, jobs.as_structure(far)]
    given.append(Structure.from_dict(jobs.as_structure(crystals[1])))  # as jobflow resolves it
    found = jobs.relax(given, judge=TOY, settings={"steps": 2}, num_workers=0)
    found = through_json(found)
    expected = relaxation.relax(
        [crystals[0], crystals[1]], TOY, relaxation.RelaxSettings(steps=2), num_workers=0
    )
    assert [s is None for s in found["structures"]] == [False, True, True, False]
    assert found["records"][1] is None
    assert "no neighbour" in found["records"][2]["problem"]
    for place, record in ((0, expected[0]), (3, expected[1])):
        assert found["records"][place]["energy"] == record.energy
        matrix = Structure.from_dict(found["structures"][place]).lattice.matrix
        np.testing.assert_array_equal(matrix, record.crystal.lattice)


def test_scores_are_those_of_the_function(tmp_path):
    crystals = load_dataset("demo", "test").crystals()[:6]
    write_extxyz(crystals, tmp_path / "known.extxyz")
    given = [*map(jobs.as_structure, crystals), None]
    options = {"num_bootstrap": 0, "num_workers": 0}
    found = jobs.score(
        given, reference=str(tmp_path / "known.extxyz"), train="demo", cache_dir=str(tmp_path),
        **options,
    )  # fmt: skip
    found = through_json(found)
    metrics = {name: estimate["value"] for name, estimate in found["metrics"].items()}
    assert metrics["struct_valid"] == pytest.approx(6 / 7)
    assert set(found["definitions"]) == set(metrics)
    assert [row["struct_valid"] for row in found["table"]] == [True] * 6 + [False]
    scores = pyg_crysdiff.evaluate(
        crystals, reference=crystals, train=load_dataset("demo", "train").crystals(),
        progress=False, **options,
    )  # fmt: skip
    assert metrics["density_emd"] == pytest.approx(scores.metrics["density_emd"].value, abs=1e-6)
    assert metrics["novelty"] == scores.metrics["novelty"].value


def test_stability_is_asked_for_in_plain_values():
    given = [jobs.as_structure(c) for c in load_dataset("demo", "test").crystals()[:2]]
    stability = {"judges": [TOY], "steps": 1}
    found = jobs.score(given, stability=stability, num_bootstrap=0, num_workers=0)
    assert found["metrics"]["hull_known"]["value"] == 0  # there are no known crystals
    assert all(np.isfinite(row["relaxed_energy"]) for row in through_json(found)["table"])


def test_what_is_not_finite_is_none():
    assert jobs.as_structure(Crystal(np.full((3, 3), np.nan), [[0, 0, 0]], [8])) is None


def test_jobs_can_be_sent():
    for work in (jobs.sample, jobs.relax, jobs.score):
        assert pickle.loads(pickle.dumps(work)) is work
