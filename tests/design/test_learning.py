"""The generator learns from what was found, and forgets nothing."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pyg_crysdiff.data import CrystalDataset
from pyg_crysdiff.design import learning
from pyg_crysdiff.design.drawing import requests_for
from pyg_crysdiff.design.held_out import crystal_losses, is_held_out
from pyg_crysdiff.design.learning import FineTune, compare, fine_tune, verdict
from pyg_crysdiff.design.objectives import read_objectives
from pyg_crysdiff.design.training_set import (
    FOUND_RANK,
    TrainingSet,
    few_of_each,
    ranked,
    remembered,
    selected,
)
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.training import train
from pyg_crysdiff.training.samplers import focused_rows
from tests.conftest import make_crystal
from tests.helpers import same_weights, small_config, toy_set

GOAL = read_objectives(["energy=:0.7"])
SETTINGS = FineTune(steps=8, batch_size=16, min_found=10, held_out=0.3, replay=30, copies=40)
ORIGINAL = toy_set(60).crystals()


def light(count, seed=7, energy=None, **more):
    """Crystals of one light element, as a search for low energies would find them."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        crystal = make_crystal(rng, int(rng.integers(2, 5)), elements=(6, 8))
        value = float(np.mean(crystal.atomic_numbers) / 10 - 0.3) if energy is None else energy
        info = {"energy": value, **{name: column[i] for name, column in more.items()}}
        out.append(replace(crystal, info=info))
    return out


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    sets = CrystalDataset.from_crystals(ORIGINAL, ["energy"], niggli=False), None
    return train(small_config(max_epochs=2), folder, data=sets, progress=False).checkpoint


@pytest.fixture(scope="module")
def learned(model_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("learned")
    loose = replace(SETTINGS, tolerance=9.0, lr=3e-3)
    return fine_tune(
        model_file, ORIGINAL, light(40), GOAL, settings=loose, out=out, device="cpu",
        progress=False,
    ), out  # fmt: skip


def again(model_file, out, **changes):
    settings = replace(SETTINGS, tolerance=9.0, lr=3e-3, **changes)
    return fine_tune(
        model_file, ORIGINAL, light(40), GOAL, settings=settings, out=out, device="cpu",
        progress=False,
    )  # fmt: skip


def test_model_that_helps_is_taken_and_knows_the_found_range(learned, model_file):
    found, _ = learned
    assert found.accepted, found.facts
    old, new = load_checkpoint(model_file).model, load_checkpoint(found.checkpoint).model
    assert not same_weights(old, new)
    lowest = min(c.info["energy"] for c in light(40))
    p, q = old.statistics.properties["energy"], new.statistics.properties["energy"]
    assert q.minimum == pytest.approx(lowest)
    assert q.maximum == pytest.approx(p.maximum)
    assert (q.mean, q.std) == (p.mean, p.std)  # the units of the network
    request, _ = requests_for(GOAL, load_checkpoint(found.checkpoint))
    assert request.target["energy"] == (pytest.approx(lowest), pytest.approx(0.7))


def test_facts_are_json_and_whole(learned):
    facts = json.loads(json.dumps(learned[0].facts))
    assert facts["learnt"] + facts["held_found"] == facts["found"] == 40
    assert facts["replayed"] == 30
    assert set(facts["elements"]["found"]) == {"C", "O"}
    assert set(facts["elements"]["original"]) == {"C", "O", "Ti", "Sr"}
    found = facts["losses"]["found"]
    assert found["change"] == pytest.approx(found["after"] - found["before"])
    assert found["crystals"] == facts["held_found"]


def test_finished_fine_tuning_is_not_repeated(learned, model_file, monkeypatch):
    monkeypatch.setattr(learning, "train", None)
    assert again(model_file, learned[1]) == learned[0]


def test_run_folder_may_move(learned, model_file, tmp_path, monkeypatch):
    moved = shutil.copytree(learned[1], tmp_path / "moved")
    monkeypatch.setattr(learning, "train", None)
    assert again(model_file, moved).checkpoint == moved / "training" / "last.ckpt"


def test_same_seed_gives_the_same_model(learned, model_file, tmp_path):
    other = again(model_file, tmp_path)
    first, second = (load_checkpoint(one.checkpoint).model for one in (learned[0], other))
    assert same_weights(first, second)
    assert other.facts["losses"] == learned[0].facts["losses"]


def test_interrupted_fine_tuning_goes_on(learned, model_file, tmp_path):
    begun = shutil.copytree(learned[1], tmp_path / "begun")
    (begun / "learned.json").unlink()  # killed between training and comparison
    weights = (begun / "training" / "last.ckpt").stat().st_mtime_ns
    assert again(model_file, begun).facts["losses"] == learned[0].facts["losses"]
    assert (begun / "training" / "last.ckpt").stat().st_mtime_ns == weights
    with pytest.raises(ValueError, match="another configuration"):
        again(model_file, begun, share=0.5)


def test_model_that_forgets_is_not_taken(model_file, tmp_path):
    harsh = replace(SETTINGS, lr=0.2, steps=6, tolerance=0.0)
    found = fine_tune(
        model_file, ORIGINAL, light(40), GOAL, settings=harsh, out=tmp_path, device="cpu",
        progress=False,
    )  # fmt: skip
    assert not found.accepted
    assert found.checkpoint == model_file
    assert "loss on" in found.facts["problem"]


def test_too_little_is_no_reason_to_train(model_file, tmp_path):
    few = fine_tune(model_file, ORIGINAL, light(5), GOAL, settings=SETTINGS, out=tmp_path)
    assert not few.accepted
    assert "fewer than 10" in few.facts["problem"]
    none = fine_tune(model_file, (), light(40), GOAL, settings=SETTINGS, out=tmp_path)
    assert "original" in none.facts["problem"]
    assert not list(tmp_path.iterdir())


def made(model_file, original=ORIGINAL, found=None, goal=GOAL, seed=0, **changes):
    old = load_checkpoint(model_file)
    return TrainingSet.of(
        old, original, found or light(40), goal, replace(SETTINGS, **changes), seed
    )


def test_held_out_crystals_are_never_trained_on(model_file):
    rounds = [made(model_file, found=light(n), seed=n) for n in (20, 40)]
    digests = [{c.digest() for c in r.held_found} for r in rounds]
    assert digests[0] < digests[1]  # those of the first round stay held out
    base = [{c.digest() for c in r.held_original} for r in rounds]
    assert base[0] == base[1]
    trained = {c.digest() for r in rounds for c in r.train.crystals()}
    assert not trained & base[0]
    assert 0.15 < len(digests[1]) / 40 < 0.5
    replays = [{c.digest() for c in r.train.crystals()} for r in rounds]
    assert replays[0] != replays[1]


def test_shares_of_held_out_crystals():
    crystals = light(400)
    few, many = ({i for i, c in enumerate(crystals) if is_held_out(c, s)} for s in (0.2, 0.4))
    assert few < many
    assert len(few) / 400 == pytest.approx(0.2, abs=0.06)


def test_found_crystals_alone_are_drawn_more(model_file):
    part = made(model_file, goal=read_objectives(["energy=min"]))
    focus = {"property": FOUND_RANK, "end": "lowest", "part": 1.0, "share": 0.3}
    rows = focused_rows(part.train, ["energy"], focus, part.train.property_names)
    assert sorted(rows.tolist()) == list(range(30, len(part.train)))
    best = focused_rows(part.train, ["energy"], {**focus, "part": 0.5}, [FOUND_RANK])
    energies = [float(part.train.crystals()[i].info["energy"]) for i in rows.tolist()]
    assert len(best) == round(len(rows) / 2)
    assert min(energies) == energies[rows.tolist().index(int(best[0]))]
    with pytest.raises(ValueError, match=FOUND_RANK):
        focused_rows(part.train, ["energy"], {**focus, "property": "no"}, [FOUND_RANK])


def test_crystals_without_a_value_train_without_a_condition(model_file):
    stable = light(80, energy=math.nan, e_above_hull=[i / 80 for i in range(80)])
    part = made(model_file, found=stable, goal=read_objectives(["e_above_hull=:0.5"]))
    values = [c.info["energy"] for c in part.train.crystals()][30:]
    assert np.isnan(values).all()
    assert part.facts["learnt"] + part.facts["held_found"] == 41
    losses = crystal_losses(load_checkpoint(model_file).model, part.held(9)["found"], 0, 4)
    assert np.isfinite(losses).all()


def test_what_the_model_cannot_be_asked_for_selects():
    crystals = light(8, gap=[0.1, 0.2, 0.9, 1.1, 1.2, 2.0, 3.0, math.nan])
    goal = read_objectives(["energy=:0.5", "gap=1:2"])
    order = list(range(8))
    assert selected(order, crystals, goal, ["energy", "gap"], 2) == order
    assert selected(order, crystals, goal, ["energy"], 2) == [3, 4, 5]
    assert selected(order, crystals, goal, ["energy"], 5) == [1, 2, 3, 4, 5]
    highest = read_objectives(["gap=max"])
    assert selected(order, crystals, highest, [], 2) == [3, 4, 5, 6]
    assert ranked(crystals, highest) == [6, 5, 4, 3, 2, 1, 0, 7]


def test_one_composition_does_not_flood_the_training(rng):
    same = [replace(ORIGINAL[0], info={"energy": i / 10}) for i in range(9)]
    kept = few_of_each([*same, *ORIGINAL[1:20]], ORIGINAL, 3)
    assert [c.info["energy"] for c in kept[:3]] == [0.0, 0.1, 0.2]
    assert len(kept) == 22
    carbon = light(9, energy=0.0)
    carbon = [replace(c, atomic_numbers=np.full(len(c), 6)) for c in carbon]
    assert len(few_of_each(carbon, carbon, 3)) == 9  # data of one composition


def test_memory_of_the_whole_original_set_stays(model_file):
    old = load_checkpoint(model_file).model.statistics
    found = light(10)
    whole = remembered(old, ORIGINAL, found, ["energy"])
    assert whole.num_crystals == 70
    assert (whole.elements, whole.lattice_rms) == (old.elements, old.lattice_rms)
    assert sum(whole.num_atoms.values()) == 70
    few = remembered(old, ORIGINAL[:4], found, ["energy"])
    p, q = old.properties["energy"], few.properties["energy"]
    assert few.num_atoms.keys() >= old.num_atoms.keys()
    assert q.minimum == pytest.approx(min(c.info["energy"] for c in found))
    assert (q.maximum, q.quantiles[1:]) == (p.maximum, p.quantiles[1:])
    bare = [replace(c, info={}) for c in (*ORIGINAL, *found)]
    assert remembered(old, bare[:60], bare[60:], ["energy"]).properties == old.properties


def test_elements_that_the_model_does_not_know_are_left_out(model_file):
    strange = replace(ORIGINAL[0], atomic_numbers=np.full(len(ORIGINAL[0]), 92))
    part = made(model_file, original=[*ORIGINAL, strange], found=[*light(40), strange])
    assert part.facts["unknown_elements"] == 2
    assert 92 not in part.statistics.elements


def test_losses_are_paired(model_file):
    model = load_checkpoint(model_file).model
    part = made(model_file).held(6)["original"]
    first, second = (crystal_losses(model, part, 1, 8) for _ in range(2))
    assert first.shape == (6,)
    np.testing.assert_array_equal(first, second)
    assert (first != crystal_losses(model, part, 2, 8)).all()


def test_verdict_by_hand():
    found = compare(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.5, 3.9]))
    assert found["change"] == pytest.approx(-1.6 / 3)
    assert found["standard_error"] == pytest.approx(np.std([-1, -0.5, -0.1], ddof=1) / 3**0.5)
    same = compare(np.ones(4), np.ones(4))
    worse = compare(np.ones(4), 1.05 * np.ones(4))
    assert verdict({"found": found, "original": same}, 0.02) == ""
    assert "original" in verdict({"found": found, "original": worse}, 0.02)
    assert verdict({"found": found, "original": worse}, 0.06) == ""
    assert "does not fall" in verdict({"found": same, "original": same}, 0.02)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"share": 0.0}, {"held_out": 1.0}, {"lr": 0.0}])
def test_settings_that_make_no_sense(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        FineTune(**bad)
