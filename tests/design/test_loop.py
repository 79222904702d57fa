"""Rounds of design: what is evaluated, how a run goes on, and what it refuses."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.design import Answer, design, evaluating, learning, read_objectives
from pyg_crysdiff.design.acquisition import hit_chances
from pyg_crysdiff.design.choosing import Caps
from pyg_crysdiff.design.fine_tune_settings import FineTune
from pyg_crysdiff.design.learning import Learned
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.outcome import status_lines
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.sampling import Control
from tests.design.loop_toys import (
    SETTINGS,
    WANTED,
    ToyOracle,
    run,
    story,
    tiny_checkpoint,
    toy_data,
    toy_energy,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    """A run of ten evaluations in one go."""
    folder = tmp_path_factory.mktemp("whole")
    oracle = ToyOracle(failing=["00002"])
    return folder, oracle, *run(checkpoint, folder, oracle=oracle, report=True)


def test_rounds_up_to_the_budget(whole):
    folder, oracle, found, lines = whole
    assert found.finished
    assert not found.waiting
    assert [len(asked) for asked in oracle.asked] == [4, 4, 2]  # the last round is cut
    assert found.evaluated["key"].nunique() == 10
    rounds = found.ledger.rounds()
    assert [one["state"] for one in rounds] == ["closed"] * 3
    assert [one["counts"].get("failed", 0) for one in rounds] == [1, 0, 0]
    for one in rounds:  # chosen ones of earlier rounds stand beside those that were drawn
        assert sum(one["counts"].values()) == one["drawn"] + one["left_over"]
    assert len({digest for *_, digest in story(folder)}) == 10
    assert lines[0].startswith("round 1: 12 drawn, ")
    assert ", 4 chosen (predicted hits " in lines[0]
    total = f"{found.evaluated['hit'].sum()} hits of 10 evaluations so far"
    assert lines[-1] == f"round 3: 2 evaluated, {rounds[2]['hits']} hits; {total}"
    assert lines[1].startswith("round 1: 4 evaluated (1 failed), ")


def test_what_is_left_on_disk(whole):
    folder, _, found, _ = whole
    assert (folder / "report.html").is_file()
    keys = found.evaluated.loc[found.evaluated["hit"], "key"].tolist()
    assert keys
    assert pd.read_csv(folder / "hits.csv", dtype={"key": str})["key"].tolist() == keys
    written = read_crystals(folder / "hits.extxyz")
    drawn = found.ledger.crystals()
    assert [len(c) for c in written] == [len(drawn[key]) for key in keys]
    assert sorted(p.stem for p in (folder / "hits").iterdir()) == sorted(keys)
    assert all(c.info["energy"] <= 1.6 for c in found.hits)
    assert all(toy_energy(c) == c.info["energy"] for c in found.hits)


def test_the_order_of_the_answers_changes_no_choice(checkpoint, whole, tmp_path):
    run(checkpoint, tmp_path, oracle=ToyOracle(failing=["00002"], forwards=True))
    assert story(tmp_path) == story(whole[0])


def test_finished_runs_ask_nothing_and_larger_budgets_go_on(checkpoint, whole, tmp_path):
    first = ToyOracle(failing=["00002"])
    found, _ = run(checkpoint, tmp_path, budget=8, oracle=first)
    assert found.finished
    again = ToyOracle()
    run(checkpoint, tmp_path, budget=8, oracle=again)
    assert again.asked == []
    found, _ = run(checkpoint, tmp_path, budget=10, oracle=again)
    assert again.asked == [["00009", "00010"]]
    assert story(tmp_path) == story(whole[0])


def test_awaited_results_are_left_and_taken_up_again(checkpoint, whole, tmp_path):
    oracle = ToyOracle(["00001", "00003"], ["00002"])
    found, lines = run(checkpoint, tmp_path, oracle=oracle)
    assert lines[-1] == "2 of 4 results are awaited from toy; the same command goes on"
    assert (found.waiting, found.finished) == (("00001", "00003"), False)
    assert len(found.ledger.rounds()) == 1  # no round starts meanwhile
    assert list(status_lines(found.ledger))[-1].endswith("1 failed; 2 results are awaited")
    found, _ = run(checkpoint, tmp_path, oracle=oracle)
    assert found.finished
    assert oracle.asked[1] == ["00001", "00003"]
    assert story(tmp_path) == story(whole[0])


def test_waiting_looks_again(checkpoint, whole, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(evaluating.time, "sleep", slept.append)
    oracle = ToyOracle(["00001", "00006"], ["00002"])
    found, lines = run(checkpoint, tmp_path, oracle=oracle, wait=30)
    assert found.finished
    assert slept == [30, 30]
    assert "1 of 4 results are awaited from toy; looking again every 30 s" in lines
    assert story(tmp_path) == story(whole[0])


class Stop(BaseException):
    """What stands for a kill within the process."""


def test_a_run_that_is_stopped_after_every_write_ends_the_same(
    checkpoint, whole, tmp_path, monkeypatch
):
    answered: set[str] = set()
    writes: list[str] = []

    def stopping(name):
        method = getattr(Ledger, name)

        def call(self, *args):
            if writes:
                raise Stop
            method(self, *args)
            writes.append(name)
            if name == "add_answer":
                answered.add(args[0])

        monkeypatch.setattr(Ledger, name, call)

    class Watched(ToyOracle):
        def ask(self, crystals):
            assert not answered & set(crystals)
            return super().ask(crystals)

    for name in ("add_round", "add_answer", "close_round"):
        stopping(name)
    starts = 0
    while starts < 40:
        starts += 1
        writes.clear()
        try:
            run(checkpoint, tmp_path, oracle=Watched(failing=["00002"]))
        except Stop:
            continue
        break
    assert starts == 16  # 3 rounds begun, 10 answers, 3 rounds closed
    assert story(tmp_path) == story(whole[0])


def test_other_settings_and_a_second_run_in_a_folder_are_refused(checkpoint, whole, tmp_path):
    folder = whole[0]
    message = r"different: batch: \d+ before, 3 now; seed: \d+ before, 1 now\)"
    with pytest.raises(ValueError, match=message):
        run(checkpoint, folder, settings=replace(SETTINGS, batch=3, seed=1))
    message = r"different: data.crystals: \d+ before, \d+ now; data.digest: \S+ before, \S+ now\)"
    with pytest.raises(ValueError, match=message):
        run(checkpoint, folder, data=toy_data()[:-1])
    begun, end = threading.Event(), threading.Event()

    class Slow(ToyOracle):
        def ask(self, crystals):
            begun.set()
            assert end.wait(60)
            return super().ask(crystals)

    thread = threading.Thread(target=run, args=(checkpoint, tmp_path, 2, Slow()))
    thread.start()
    try:
        assert begun.wait(60)
        with pytest.raises(ValueError, match="is being written by process"):
            run(checkpoint, tmp_path, 2)
        assert next(iter(status_lines(Ledger(tmp_path)))).startswith(f"{tmp_path}: energy=:1.6")
    finally:
        end.set()
        thread.join()
    assert Ledger(tmp_path).asked == 2


def test_a_run_that_finds_nothing_new_ends(checkpoint, tmp_path):
    settings = replace(SETTINGS, caps=Caps(1, None, None))
    control = Control(formulas=("TiO2",))
    for _ in range(2):  # the second time it says so again, without drawing
        found, lines = run(checkpoint, tmp_path, settings=settings, control=control)
        assert found.finished
        assert len(found.evaluated) == 1
        assert "no new crystal among the 60 drawn in round 2" in lines[-1]
        assert "1 of 10 evaluations" in lines[-1]
    assert [one["drawn"] for one in found.ledger.rounds()] == [60, 60]  # five times each


def test_without_values_the_first_round_takes_them_as_drawn(checkpoint, tmp_path):
    found, lines = run(checkpoint, tmp_path, budget=4, data=[])
    assert "4 chosen (in the order of drawing)" in lines[0]
    table = found.ledger.candidates()
    chosen = table[table["key"].notna()].sort_values("rank")["place"].tolist()
    fit = table[~table["status"].isin(["invalid", "twice"])]
    turn = fit.groupby("request").cumcount()  # both requests in turn
    assert chosen == fit["place"][turn.sort_values(kind="stable").index].tolist()[:4]


def test_generators_that_were_accepted_draw_from_then_on(checkpoint, tmp_path, monkeypatch):
    """Learning is stood in for by copies of other models; one start ends after each round."""
    asked = []

    def learn(model_file, original, found, objectives, *, settings, seed, out, **_):
        assert len(original) == 24
        assert objectives == WANTED
        assert all(c.info["energy"] == toy_energy(c) for c in found)
        asked.append((Path(model_file).resolve(), len(found), seed, out))
        is_better = len(asked) != 2
        if is_better:
            model_file = tiny_checkpoint(out / "new.safetensors", seed=len(asked))
        facts = {"problem": "" if is_better else "it forgets", "losses": {}}
        return Learned(Path(model_file), is_better, facts)

    monkeypatch.setattr(learning, "fine_tune", learn)
    settings = replace(SETTINGS, batch=2, draws=6, fine_tune=FineTune())
    out = tmp_path / "run"
    lines = []
    for budget in (2, 4, 6, 8):  # nothing is learned before it is needed
        assert len(asked) == max(budget // 2 - 2, 0)
        found, said = run(checkpoint, out, budget, settings=settings)
        lines += said
    rounds = found.ledger.rounds()
    assert [one.get("learning", {}).get("accepted") for one in rounds] == [True, False, True, None]
    assert "round 2: learned from 4 crystals: the generator stays as it was (it forgets)" in lines
    first, second, third, fourth = (one["generator"] for one in rounds)
    assert second == third
    assert len({first, second, fourth}) == 3
    new = (out / "rounds" / "0001" / "model" / "new.safetensors").resolve()
    assert [path for path, *_ in asked] == [checkpoint.resolve(), new, new]
    assert [count for _, count, *_ in asked] == [2, 4, 6]
    assert len({seed for *_, seed, _ in asked}) == 3
    out.rename(tmp_path / "moved")
    run(checkpoint, tmp_path / "moved", 9, settings=settings)
    assert asked[-1][0] == tmp_path.resolve() / "moved" / "rounds" / "0003" / "model" / new.name


def test_a_generator_learns_every_so_many_rounds(checkpoint, tmp_path, monkeypatch):
    asked = []

    def learn(model_file, original, found, objectives, **_):
        asked.append(len(found))
        return Learned(Path(model_file), False, {"problem": "too few"})

    monkeypatch.setattr(learning, "fine_tune", learn)
    settings = replace(SETTINGS, batch=1, draws=3, fine_tune=FineTune(every=2))
    run(checkpoint, tmp_path, 5, settings=settings)
    assert asked == [2, 4]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer({"energy": "high"}), "energy is no number: 'high'"),
        (Answer({"energy": float("nan")}), "no number came of it"),
        (Answer({}), "no number came of it"),
    ],
)
def test_answers_that_are_none(checkpoint, tmp_path, answer, problem):
    class Odd(ToyOracle):
        def ask(self, crystals):
            for key in crystals:
                yield key, answer

    found, _ = run(checkpoint, tmp_path, budget=1, oracle=Odd())
    assert found.evaluated["problem"].tolist() == [problem]
    assert not found.hits


def test_an_oracle_that_answers_what_it_was_not_asked(checkpoint, tmp_path):
    class Odd(ToyOracle):
        def ask(self, crystals):
            yield "77777", Answer({"energy": 1.0})

    with pytest.raises(ValueError, match="answers '77777', for which it was not asked"):
        run(checkpoint, tmp_path, budget=1, oracle=Odd())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "at least one evaluation"),
        ({"wait": 0.0}, "wait must be"),
        ({"settings": replace(SETTINGS, fine_tune=FineTune()), "data": []}, "give data"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run("nowhere.ckpt", tmp_path, **options)


def test_an_oracle_for_something_else_is_refused(tmp_path):
    oracle = ToyOracle()
    oracle.names = ("gap",)
    with pytest.raises(ValueError, match="the oracle gives gap, and not energy"):
        run("nowhere.ckpt", tmp_path, oracle=oracle)


def test_an_objective_with_the_name_of_a_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no objective can be called 'hit'"):
        design("nowhere.ckpt", read_objectives(["hit=1:"]), ToyOracle(), 1, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"draws": 3}, "fewer than the 4 crystals"),
        ({"acquisition": "luck"}, "acquisition must be one of"),
        ({"kappa": -1.0}, "kappa"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_the_chance_of_a_hit_is_that_of_the_normal_distribution(rng):
    objectives = read_objectives(["a=0:1", "b=:2", "c=min"])
    predicted = {
        name: (rng.normal(size=3), rng.uniform(0.5, 2, size=3)) for name in ("a", "b", "c")
    }
    drawn = {n: rng.normal(m, s, size=(400_000, 3)) for n, (m, s) in predicted.items()}
    share = ((drawn["a"] > 0) & (drawn["a"] < 1) & (drawn["b"] < 2)).mean(axis=0)
    assert hit_chances(objectives, predicted) == pytest.approx(share, abs=0.005)
    assert hit_chances(WANTED, {"energy": (rng.normal(size=2), rng.random(2))}).shape == (2,)


class OwnScale(ToyOracle):
    """Measures the energy from a zero of its own."""

    own_scale = ("energy",)


def test_values_of_another_scale_are_not_learnt(checkpoint, tmp_path):
    found, lines = run(checkpoint, tmp_path / "run", 4, OwnScale())
    assert lines[0].startswith("energy of the data is not learnt from")
    assert found.ledger.rounds()[0]["predictor"]["energy"]["known"] == 0
    found, lines = run(checkpoint, tmp_path / "other", 4)
    assert found.ledger.rounds()[0]["predictor"]["energy"]["known"] == 24


def test_what_was_left_over_is_chosen_when_it_is_the_best(checkpoint, tmp_path):
    """Drawn in round 1 and not chosen, some of it comes before what is drawn later."""
    found, _ = run(checkpoint, tmp_path / "run", 16)
    rounds = found.ledger.rounds()
    assert rounds[0]["left_over"] == 0
    assert sum(one["left_over"] for one in rounds) > 0
    table = found.ledger.candidates()
    again = table[(table["place"] >= 12) & (table["round"] > 1)]
    assert len(again) == sum(one["left_over"] for one in rounds)
    assert again["key"].notna().all()
    digests = [digest for *_, digest in story(tmp_path / "run")]
    assert len(set(digests)) == len(digests) == 16  # nothing is evaluated twice


class RelaxingOracle(ToyOracle):
    """Everything meets the bound; every third relaxes to a known crystal, every third to one."""

    def ask(self, crystals):
        one = Crystal(np.eye(3) * 4, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([6, 8]))
        known = next(c for c in toy_data() if structural_problem(c) is None)
        for key, _ in super().ask(crystals):
            became = [known, one, crystals[key]][int(key) % 3]
            yield key, Answer({"energy": 0.0}, "", became)


def test_what_relaxes_to_a_known_or_found_crystal_is_no_hit(checkpoint, tmp_path):
    found, lines = run(checkpoint, tmp_path, 10, RelaxingOracle(forwards=True))
    table = found.evaluated
    number = table["key"].astype(int)
    assert set(table["relaxed_to"][number % 3 == 0]) == {"known"}
    same = table["relaxed_to"][number % 3 == 1].tolist()  # of numbers 1, 4, 7 and 10
    assert same == ["", "twice", "seen", "seen"]
    assert set(table["relaxed_to"][number % 3 == 2]) == {""}
    assert table["hit"].tolist() == (table["relaxed_to"] == "").tolist()
    assert len(found.hits) == table["hit"].sum() == 4
    assert sum(one["hits"] for one in found.ledger.rounds()) == 4
    assert "round 1: 2 relaxed to crystals that are not new" in lines
