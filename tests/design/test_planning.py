"""The first half of a round: who is asked, who is dropped, who is chosen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design import Answer, design
from pyg_crysdiff.design.choosing import Caps
from pyg_crysdiff.design.drawing import Request
from pyg_crysdiff.design.evidence import best_values, evaluated, labelled, number_of
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import read_objectives
from pyg_crysdiff.design.planning import Planner, base_shares
from pyg_crysdiff.known import Database
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.sampling import Control, Sampler
from tests.design.loop_toys import FEW, SETTINGS, WANTED, tiny_checkpoint, toy_data
from tests.design.test_ledger import SETTINGS as RECORD
from tests.design.test_ledger import add

THREE = Sampler.of("paper", steps=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return load_checkpoint(path)


def plan(model, folder, count=4, **options):
    settings = replace(SETTINGS, **options.pop("settings", {}))
    planner = Planner(settings, WANTED, **{"data": toy_data(), **options})
    with Ledger(folder / "ledger", RECORD) as ledger:
        return planner.plan(1, count, model, ledger, folder / "round")


def test_requests_are_shared_out_and_take_what_they_do_not_name(model, tmp_path):
    requests = (Request({"energy": 1.0}, guidance=2.0), Request(None, sampler=THREE))
    made = plan(
        model, tmp_path, data=[],
        settings={"requests": requests, "guidance": 1.5, "num_atoms": 3, "sampler": FEW},
    )  # fmt: skip
    asked = [(one["guidance"], one["num_atoms"], one["sampler"]) for one in made.facts["requests"]]
    assert asked == [(2.0, 3, FEW.to_dict()), (1.5, 3, THREE.to_dict())]
    assert Counter(c.info["request"] for c in made.crystals) == {0: 6, 1: 6}
    assert {len(crystal) for crystal in made.crystals} == {3}
    # Nothing is predicted: they come as drawn, of both requests in turn.
    chosen = [made.crystals[place].info["request"] for place in made.chosen]
    assert Counter(chosen) == {0: 2, 1: 2}
    assert made.facts["acquisition"] == "random"
    assert made.facts["predicted_hits"] is None


def test_known_crystals_of_the_data_and_of_a_database_are_dropped(model, tmp_path):
    fresh = plan(model, tmp_path / "fresh")
    places = [i for i, verdict in enumerate(fresh.verdicts) if verdict.passed]
    in_data, in_database = (
        replace(fresh.crystals[i], info={"energy": 1.0, "material_id": name})
        for i, name in zip(places[:2], ("mine", "theirs"), strict=True)
    )
    database = Database(tmp_path / "known.sqlite", create=True)
    database.add([in_database], source="a book", num_workers=0)
    for known in (database, [in_database]):
        again = plan(
            model, tmp_path / type(known).__name__, data=[*toy_data(), in_data], known=known
        )
        verdicts = [again.verdicts[i] for i in places[:2]]
        assert [verdict.status for verdict in verdicts] == ["known", "known"]
        assert "mine" in verdicts[0].reason
        assert "theirs" in verdicts[1].reason
        assert not set(places[:2]) & set(again.chosen)
        assert len(again.chosen) == 4


def test_scores_and_predictions_belong_to_the_candidates(model, tmp_path):
    made = plan(model, tmp_path, settings={"acquisition": "mean"})
    passed = np.array([verdict.passed for verdict in made.verdicts])
    assert np.isfinite(made.scores).tolist() == passed.tolist()
    mean, std = made.predicted["energy"]
    assert np.isfinite(mean).tolist() == np.isfinite(std).tolist() == passed.tolist()
    ranked = sorted(made.chosen, key=made.chosen.get)
    best = np.argsort(-np.where(passed, made.scores, -np.inf), kind="stable")[:4]
    assert ranked == best.tolist()
    assert 0 <= made.facts["predicted_hits"] <= 4


def test_shares_of_elements_are_those_of_what_constraints_admit():
    def crystal(*numbers):
        return Crystal(np.eye(3) * 5, np.zeros((len(numbers), 3)), numbers)

    data = [crystal(22, 8), crystal(22, 8, 8), crystal(22, 6), crystal(38, 8)]
    assert base_shares(data, None) == {22: 0.75, 8: 0.75, 6: 0.25, 38: 0.25}
    assert base_shares(data, Control(required=("O",))) == {22: 2 / 3, 8: 1, 38: 1 / 3}
    assert base_shares(data, Control(chemical_system="Ti-O")) == {22: 1, 8: 1}
    assert base_shares(data, Control(chemical_system="Fe-O")) is None
    assert base_shares([], None) is None


def test_the_share_of_an_element_does_not_grow_beyond_the_brake(model, tmp_path):
    """The data hold carbon in a tenth of the crystals, the generator draws it more often."""
    data = toy_data()
    without = [c for c in data if 6 not in c.atomic_numbers]
    few = [*without, *[c for c in data if 6 in c.atomic_numbers][:1]]
    made = plan(model, tmp_path, 6, data=few, settings={"batch": 6, "caps": Caps(None, None, 2.0)})
    carbon = sum(6 in made.crystals[place].atomic_numbers for place in made.chosen)
    assert carbon <= max(1, 2 * 6 / len(few))
    assert sum(6 in c.atomic_numbers for c in made.crystals) / len(made.crystals) > 0.3


def test_what_the_predictor_and_the_generator_learn_from(tmp_path, rng):
    names = ["energy", "gap"]
    data = [Crystal(np.eye(3), [[0, 0, 0]], [6], {"energy": 1.0, "gap": "wide"})]
    with Ledger(tmp_path, RECORD) as ledger:
        add(ledger, rng)
        relaxed = Crystal(np.eye(3), [[0, 0, 0]], [8])
        ledger.add_answer("00002", Answer({"energy": -2.0, "gap": 3.0}, "", relaxed))
        ledger.add_answer("00001", Answer({"energy": -1.5}))
        add(ledger, rng, 2)
        ledger.add_answer("00003", Answer({"energy": -9.0}, "not converged"))
        crystals, values = labelled(names, data, ledger)
        assert values["energy"].tolist() == [1.0, -1.5, -2.0]
        assert np.isnan(values["gap"]).tolist() == [True, True, False]
        drawn = ledger.crystals()
        assert [c.digest() for c in crystals[1:]] == [
            drawn["00001"].digest(), drawn["00002"].digest(),
        ]  # fmt: skip
        found, _ = evaluated(ledger, names, relaxed=True)
        assert [c.digest() for c in found] == [drawn["00001"].digest(), relaxed.digest()]
        assert "gap" not in found[0].info
        assert found[1].info["gap"] == 3.0
        assert [c.info["hit"] for c in found] == [False, True]
        # Of the hits alone: the lower energy of the other two met nothing.
        assert best_values(ledger.objectives, ledger) == {"gap": 3.0}
        assert best_values(read_objectives(["energy=min"]), ledger) == {"energy": -2.0}


@pytest.mark.parametrize("value", [None, "high", True, float("inf")])
def test_what_is_no_value(value):
    assert np.isnan(number_of(Crystal(np.eye(3), [[0, 0, 0]], [6], {"x": value}), "x"))


def test_two_objectives_of_which_one_is_not_known_at_first(model, tmp_path):
    class Both:
        names, identity = ("energy", "size"), "both"

        def ask(self, crystals):
            for key, crystal in crystals.items():
                yield key, Answer({"energy": 1.0, "size": float(len(crystal))})

    objectives = read_objectives(["energy=:1.6", "size=max"])
    found = design(
        model.path, objectives, Both(), 24, tmp_path, settings=replace(SETTINGS, batch=12),
        data=toy_data(), report=False,
    )  # fmt: skip
    first, second = found.ledger.rounds()
    assert first["acquisition"] == second["acquisition"] == "improvement"
    assert first["predicted_hits"] is None
    assert "problem" in first["predictor"]["size"]
