"""Look-ups, models, potentials, several oracles together, and oracles by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design import Answer, find_oracle
from pyg_crysdiff.design.oracles import (
    CombinedOracle,
    FolderOracle,
    LookupOracle,
    ModelOracle,
    PotentialOracle,
)
from pyg_crysdiff.evaluation.hull import HullFile, Phase
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from pyg_crysdiff.relaxation import RelaxSettings
from pyg_crysdiff.testing import potential
from tests import toys
from tests.design import user_functions
from tests.design.oracle_toys import pair

TOYS = user_functions.__name__
GOLD, SALT = pair(79, edge=3.1), pair(11)


def binary(first, second, edge=3.0) -> Crystal:
    crystal = pair(first, edge)
    crystal.atomic_numbers[1] = second
    return crystal


@pytest.fixture
def parts():
    return {
        "train": [pair(79, gap=1.0, heat=-1.0, material_id="au"), pair(11, gap=np.nan, heat=0.0)],
        "val": [pair(11, gap=2.0, heat=0.5, material_id="na"), pair(3, gap=3.0, heat=0.7)],
    }


def test_a_look_up_gives_the_numbers_of_the_known_crystal(parts):
    oracle = LookupOracle(parts, ["gap", "heat"], num_workers=0)
    turned = Crystal(2 * np.eye(3), np.zeros((0, 3)), [])
    asked = {"a": GOLD, "b": SALT, "c": binary(79, 11), "d": turned, "e": pair(3)}
    found = dict(oracle.ask(asked))
    assert found["a"].values == {"gap": 1.0, "heat": -1.0}
    assert found["a"].facts == {"part": "train", "index": 0, "material_id": "au"}
    assert found["b"].facts == {"part": "val", "index": 0, "material_id": "na"}
    assert found["e"].facts == {"part": "val", "index": 1}
    assert found["c"].problem == "matches no known crystal"
    assert found["d"].problem == "no atoms"
    assert list(found) != []
    json.dumps(dict(found["e"].facts))


def test_the_identity_of_a_look_up_is_what_is_known(parts):
    def identity(names=("gap",)):
        return LookupOracle(parts, names).identity

    first = identity()
    assert first == identity()
    assert first != identity(("heat",))
    parts["val"][0].info["gap"] = 2.5
    assert first != identity()
    with pytest.raises(ValueError, match="of 4 known crystals none has colour"):
        LookupOracle(parts, ["colour"])


def test_a_look_up_in_a_file_and_in_a_data_set(tmp_path):
    folder = tmp_path / "set"
    oracle = find_oracle("lookup:demo:val", ["formation_energy_per_atom"], num_workers=0)
    assert oracle.title == "look-up in val"
    known = oracle._known[0]
    value = known.info["formation_energy_per_atom"]
    (answer,) = dict(oracle.ask({"x": known})).values()
    assert answer.values["formation_energy_per_atom"] == value
    with pytest.raises(FileNotFoundError, match="neither a data set"):
        find_oracle(f"lookup:{folder}", ["gap"])
    with pytest.raises(ValueError, match="no part tset"):
        find_oracle("lookup:demo:tset", ["gap"])
    with pytest.raises(ValueError, match="has formation_energy_per_atom; wanted is gap"):
        find_oracle("lookup:demo", ["gap"])


class Constant:
    property_name, identity = "gap", "constant"

    def predict(self, crystals, *, progress=False):
        return np.array([np.nan if 79 in c.atomic_numbers else len(c) / 4 for c in crystals])


def test_a_model_gives_its_property():
    oracle = ModelOracle(Constant())
    found = dict(oracle.ask({"a": SALT, "b": GOLD, "c": pair(3, shift=0.0)}))
    assert found["a"].values == {"gap": 0.5}
    assert found["b"].problem == "the model gave no number"
    assert "closer" in found["c"].problem


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    file = tmp_path_factory.mktemp("model") / "heat.safetensors"
    PropertyModel(PeriodicDimeNet(config), config, 0.5, 2.0, {"property": "heat"}).save(file)
    return file


def test_a_model_by_its_file_and_its_identity(model_file):
    oracle = find_oracle(f"model:{model_file}", ["heat"])
    assert np.isfinite(dict(oracle.ask({"a": SALT}))["a"].values["heat"])
    model = ModelOracle(model_file)._model
    assert ModelOracle(model).identity == oracle.identity
    next(model.network.parameters()).data += 1e-3
    assert ModelOracle(model).identity != oracle.identity
    with pytest.raises(ValueError, match=r"no oracle gives gap: model .* gives heat"):
        find_oracle(f"model:{model_file}", ["gap"])


@pytest.fixture
def hull(tmp_path) -> Path:
    """Lithium and fluorine at -1 eV/atom, and LiF at -3."""
    phases = [Phase({"Li": 2}, -2.0), Phase({"F": 2}, -2.0), Phase({"Li": 2, "F": 2}, -12.0)]
    file = tmp_path / "hull.json.gz"
    HullFile(phases, judge="toy 1").write(file)
    return file


def test_a_potential_relaxes_and_knows_the_hull(hull, tmp_path):
    oracle = PotentialOracle(toys.toy(), hull, cache_dir=tmp_path, num_workers=0)
    crystals = {"a": binary(3, 9), "b": SALT, "c": pair(toys.FAILS), "d": binary(3, 9)}
    found = dict(oracle.ask(crystals))
    assert set(found) == set(crystals)
    energy = toys.ground(crystals["a"])
    assert found["a"].values == {
        "energy_per_atom": pytest.approx(energy, abs=1e-3),
        "e_above_hull": pytest.approx(energy + 3.0, abs=1e-3),
        "formation_energy_per_atom": pytest.approx(energy + 1.0, abs=1e-3),
    }
    assert found["a"].crystal.volume / 2 == pytest.approx(toys.VOLUME, abs=0.3)
    facts = found["a"].facts
    assert (facts["judge"], facts["converged"], facts["scheme"]) == ("toy 1", True, "")
    assert facts["steps"] > 0
    assert facts["moved"] == pytest.approx(0.0, abs=1e-6)
    assert len(facts["hull"]) == 64
    assert found["b"].problem == "the hull does not know Na"
    assert "xenon" in found["c"].problem
    json.dumps([dict(answer.facts) for answer in found.values()], allow_nan=False)
    toys.ASKED.clear()
    assert {k: a.values for k, a in oracle.ask(crystals)}["d"] == found["a"].values
    assert pair(toys.FAILS).digest() not in toys.ASKED or len(set(toys.ASKED)) == 1


def test_answers_of_a_potential_come_as_relaxations_end(tmp_path):
    oracle = PotentialOracle(potential.toy_judge(), cache_dir=tmp_path, num_workers=0)
    shaken = {f"{i}": pair(79, edge=3.0 + 0.05 * i) for i in range(3)}
    asking = oracle.ask(shaken)
    first, answer = next(asking)
    asking.close()
    assert sum(len(file.read_text().splitlines()) for file in tmp_path.rglob("*.jsonl")) < 3
    again = dict(oracle.ask(shaken))
    assert set(again) == set(shaken)
    assert again[first].values == answer.values


def test_what_did_not_converge_keeps_its_number_and_says_so(tmp_path):
    short = RelaxSettings(steps=1)
    oracle = PotentialOracle(
        toys.toy(), settings=short, cache_dir=tmp_path, num_workers=0
    )  # fmt: skip
    (answer,) = dict(oracle.ask({"a": binary(3, 9)})).values()
    assert answer.facts["converged"] is False
    assert list(answer.values) == ["energy_per_atom"]


def test_the_identity_of_a_potential(hull):
    one = PotentialOracle(toys.toy())
    assert one.identity == PotentialOracle(toys.toy()).identity
    others = [
        PotentialOracle(toys.toy(), hull), PotentialOracle(toys.toy("other")),
        PotentialOracle(toys.toy(), settings=RelaxSettings(steps=0)),
    ]  # fmt: skip
    assert len({one.identity, *(other.identity for other in others)}) == 4
    with pytest.raises(ValueError, match="the hull is of toy 1"):
        PotentialOracle(toys.toy("other"), hull)


CALCULATOR = "ase:pyg_crysdiff.testing.potential.PairCalculator"


def test_a_potential_by_name(tmp_path):
    HullFile([Phase({"Au": 1}, -3.0)]).write(tmp_path / "hull.json")
    spec = f"{CALCULATOR},unrelaxed:{tmp_path / 'hull.json'}"
    oracle = find_oracle(spec, ["e_above_hull"], num_workers=0)
    (answer,) = dict(oracle.ask({"a": GOLD})).values()
    energy = potential.pair_point(GOLD).energy / 2
    assert answer.values["e_above_hull"] == pytest.approx(energy + 3.0)
    assert answer.crystal is None
    with pytest.raises(ValueError, match=r"no oracle gives e_above_hull, with a hull file"):
        find_oracle(CALCULATOR, ["e_above_hull"])
    with pytest.raises(ValueError, match="only 'unrelaxed'"):
        find_oracle(f"{CALCULATOR},quick", ["energy_per_atom"])


class Recorded:
    """Gives the volume of what it is asked about, but nothing of gold, and keeps some waiting."""

    names, identity = ("volume",), "recorded"

    def __init__(self, waiting=()):
        self.asked, self.waiting = [], set(waiting)

    def ask(self, crystals):
        for key, crystal in crystals.items():
            self.asked.append(key)
            if key in self.waiting:
                continue
            if 79 in crystal.atomic_numbers:
                yield key, Answer.failed("gold")
            else:
                yield key, Answer({"volume": crystal.volume}, facts={"by": "hand"})


def test_oracles_in_order_get_the_relaxed_crystal(tmp_path):
    toy = PotentialOracle(toys.toy(), cache_dir=tmp_path, num_workers=0)
    oracle = CombinedOracle([toy, Recorded(waiting=["w"])])
    xenon = pair(toys.FAILS)
    found = dict(oracle.ask({"a": SALT, "g": GOLD, "x": xenon, "w": pair(3)}))
    assert set(found) == {"a", "g", "x"}
    assert found["a"].values["volume"] == pytest.approx(found["a"].crystal.volume)
    assert found["a"].values["volume"] != pytest.approx(SALT.volume)
    assert [f["oracle"] for f in found["a"].facts["oracles"]] == ["toy 1", "recorded"]
    assert found["x"].problem.startswith("toy 1: ")
    assert found["g"].problem == "recorded: gold"
    assert found["g"].values == {}
    assert "energy_per_atom" in found["g"].facts["values"]
    assert oracle.names == ("energy_per_atom", "volume")
    with pytest.raises(ValueError, match="two oracles give volume"):
        CombinedOracle([Recorded(), Recorded()])


@pytest.mark.parametrize("again", [False, True])
def test_an_earlier_oracle_is_not_asked_again_while_a_later_one_waits(again, tmp_path):
    first, keep = Recorded(), tmp_path / "answers.jsonl"
    queue = FolderOracle(tmp_path / "queue", ["gap"])
    oracle = CombinedOracle([first, queue], keep=keep if again else None)
    crystals = {"k": SALT, "l": pair(3)}
    assert not dict(oracle.ask(crystals))
    (tmp_path / "queue" / "k" / "result.json").write_text('{"gap": 2}')
    if again:  # by another process
        oracle = CombinedOracle([first, queue], keep=keep)
    found = dict(oracle.ask(crystals))
    assert found["k"].values == {"volume": SALT.volume, "gap": 2.0}
    assert set(found) == {"k"}
    assert sorted(first.asked) == ["k", "l"]


def test_a_relaxed_crystal_is_kept_to_the_last_bit(tmp_path):
    toy = PotentialOracle(toys.toy(), cache_dir=tmp_path / "cache", num_workers=0)
    queue, keep = FolderOracle(tmp_path / "queue", ["gap"]), tmp_path / "answers.jsonl"
    crystal = binary(3, 9, edge=3.02)
    assert not dict(CombinedOracle([toy, queue], keep=keep).ask({"k": crystal}))
    (tmp_path / "queue" / "k" / "result.json").write_text('{"problem": "no"}')
    found = dict(CombinedOracle([Unasked(toy), queue], keep=keep).ask({"k": crystal}))
    assert found["k"].problem == "folder:queue: no"
    assert found["k"].crystal.volume / 2 == pytest.approx(toys.VOLUME, abs=0.3)


class Unasked:
    def __init__(self, oracle):
        self.names, self.identity = oracle.names, oracle.identity

    def ask(self, crystals):
        raise AssertionError("asked again")


def test_who_gives_what(tmp_path):
    function = f"python:{TOYS}:sites"
    oracle = find_oracle([CALCULATOR, function], ["energy_per_atom", "sites"], num_workers=0)
    assert oracle.names == ("energy_per_atom", "sites")
    oracle = find_oracle([f"volume={function}", f"folder:{tmp_path}"], ["volume", "gap"])
    assert oracle.names == ("volume", "gap")
    assert find_oracle(user_functions.bare, ["volume"]).names == ("volume",)
    mine = Recorded()
    assert find_oracle(mine, ["volume"]) is mine


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ("colour", "unknown oracle 'colour': lookup:SET"),
        ("folder:", "lacks what comes after the colon: folder:FOLDER"),
        ([], "name an oracle"),
        (["folder:a", "folder:b"], "say what folder:a and folder:b gives: band_gap=folder:a"),
        ([Recorded(), "folder:a"], "say what folder:a gives"),
        ("gap=model:x", "model names its numbers itself; write 'model:x'"),
        ("volume=folder:a", "no oracle gives gap"),
        (3, "an oracle is a text"),
    ],
)
def test_specs_that_say_too_little(specs, words):
    with pytest.raises(ValueError, match=words):
        find_oracle(specs, ["volume"] if isinstance(specs, list) else ["gap"])
