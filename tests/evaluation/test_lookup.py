import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.evaluation.hits import distinct_hits, held_out_hits, hit_counts, lookup_facts
from pyg_crysdiff.evaluation.lookup import look_up
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.uniqueness import PrimitiveCells, novel

BA, TI, SR, ZR, PB, OXYGEN = 56, 22, 38, 40, 82, 8
SITES = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) / 2


def perovskite(corner, centre, face=OXYGEN, a=4.0, moved=(0, 0, 0), **info):
    """ABX3 with A at the corner, B at the centre (moved by so much of the edge), X on the faces."""
    frac = SITES.copy()
    frac[1] += moved
    return Crystal(a * np.eye(3), frac, [corner, centre, face, face, face], info)


def known(corner, centre, energy, name, **more):
    return perovskite(corner, centre, energy=energy, material_id=name, **more)


def again(crystal, seed=0):
    """The same crystal in another description: origin, order of atoms, orientation, cell."""
    rng = np.random.default_rng(seed)
    structure = Crystal(
        crystal.lattice, crystal.frac_coords + rng.random(3), crystal.atomic_numbers
    )
    structure = structure.to_structure().make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    cell = Crystal.from_structure(structure)
    order = rng.permutation(len(cell))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return Crystal(cell.lattice @ turn, cell.frac_coords[order], cell.atomic_numbers[order])


def find(crystals, among):
    return look_up(crystals, among, "energy", num_workers=0)


def test_roles_of_the_elements_count():
    among = [known(BA, TI, 0.1, "a"), known(TI, BA, 0.9, "b")]
    found = find([perovskite(TI, BA, a=4.2), again(perovskite(BA, TI)), perovskite(BA, ZR)], among)
    assert found.index.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(found.value, [0.9, 0.1, np.nan])


def test_a_swap_alone_matches_nothing():
    found = find([perovskite(TI, BA)], [known(BA, TI, 0.1, "a")])
    assert found.index.tolist() == [-1]


def test_the_nearest_of_several_is_taken():
    far, near = (known(BA, TI, e, str(e), moved=(x, 0, 0)) for e, x in ((1.0, 0.05), (2.0, 0.02)))
    sample = perovskite(BA, TI)
    # Both match by themselves, and pymatgen's distances say which is nearer.
    assert find([sample], [far]).value == 1.0
    distances = rms_distances([sample] * 2, [far, near], ltol=0.2, stol=0.3, angle_tol=5)
    assert distances[1] < distances[0]
    for among in ([far, near], [near, far]):
        assert find([sample], among).value == 2.0


def test_of_equal_ones_the_nearest_volume_then_the_first():
    small, large = known(BA, TI, 1.0, "s", a=3.9), known(BA, TI, 2.0, "l", a=4.4)
    twin = known(BA, TI, 3.0, "twin", a=4.4)
    for among in ([small, large], [large, small]):
        assert find([perovskite(BA, TI, a=4.3)], among).value == 2.0
        assert find([perovskite(BA, TI, a=4.0)], among).value == 1.0
    assert find([perovskite(BA, TI, a=4.3)], [small, twin, large]).value == 3.0


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(8)))
def test_the_order_of_known_crystals_does_not_matter(order):
    among = [
        known(BA, TI, 0.0, "0"), known(TI, BA, 1.0, "1"), known(SR, TI, 2.0, "2"),
        known(BA, TI, 3.0, "3", moved=(0.04, 0, 0)), known(BA, TI, 4.0, "4", moved=(0.02, 0.02, 0)),
        known(SR, TI, 5.0, "5", a=4.6), known(TI, SR, 6.0, "6"), known(PB, ZR, 7.0, "7"),
    ]  # fmt: skip
    crystals = [
        perovskite(BA, TI), perovskite(BA, TI, moved=(0.05, 0, 0)), perovskite(SR, TI, a=4.5),
        perovskite(SR, TI, a=4.1), again(perovskite(TI, SR)), perovskite(PB, TI),
    ]  # fmt: skip
    found = find(crystals, [among[i] for i in order])
    np.testing.assert_array_equal(found.value, [0.0, 3.0, 5.0, 2.0, 6.0, np.nan])
    assert [order[i] for i in found.index[:5]] == [0, 3, 5, 2, 6]


def test_a_match_is_what_novelty_says():
    among = [known(BA, TI, 0.1, "a"), known(SR, TI, 0.2, "b"), known(PB, ZR, 0.3, "c")]
    crystals = [
        perovskite(BA, TI, moved=(x, 0, 0)) for x in np.linspace(0, 0.3, 13)
    ] + [perovskite(TI, SR), again(perovskite(PB, ZR))]  # fmt: skip
    found = find(crystals, among)
    np.testing.assert_array_equal(found.index < 0, novel(crystals, among, num_workers=0))
    assert 2 < (found.index >= 0).sum() < len(crystals) - 1


def test_known_crystals_without_a_value_take_no_part():
    gap, text = known(BA, TI, float("nan"), "a"), known(BA, TI, "low", "b")
    nothing = perovskite(BA, TI)
    full = known(BA, TI, 0.5, "c", a=4.4)
    found = find([perovskite(BA, TI)], [gap, nothing, text, full])
    assert (found.index.tolist(), found.value.tolist()) == ([3], [0.5])
    assert find([perovskite(BA, TI)], [gap, nothing]).index.tolist() == [-1]


def test_nothing_to_look_up_and_nothing_known():
    assert find([], [known(BA, TI, 0.5, "c")]).value.shape == (0,)
    assert find([perovskite(BA, TI)], []).index.tolist() == [-1]


def test_processes_find_the_same(rng):
    metals = (BA, SR, PB, TI, ZR)
    pairs = [(a, b) for a in metals for b in metals if a != b] * 11
    crystals = [perovskite(a, b, moved=rng.normal(0, 0.02, 3)) for a, b in pairs]
    among = [known(a, b, float(i), str(i)) for i, (a, b) in enumerate(pairs[:10])]
    serial = find(crystals, among)
    several = look_up(crystals, among, "energy", num_workers=2)
    np.testing.assert_array_equal(serial.index, several.index)
    assert (serial.index >= 0).mean() == pytest.approx(0.5)


def test_primitive_cells_are_made_once(monkeypatch):
    made = []

    def count(crystals, **_):
        made.extend(crystals)
        return []

    cells = PrimitiveCells(num_workers=0)
    crystal = perovskite(BA, TI)
    first = cells.of([crystal, crystal])
    monkeypatch.setattr("pyg_crysdiff.known.cells.parallel_map", count)
    assert cells.of([crystal]) == first[:1]
    assert made == []


class Scale:
    """An evaluator that knows the energy from the cell: 10 times the edge less 40."""

    property_name = "energy"
    identity = "scale"

    def predict(self, crystals, **_):
        return np.array(
            [10 * c.lattice[0, 0] - 40 if isinstance(c, Crystal) else np.nan for c in crystals]
        )


def parts():
    return {
        "train": [known(BA, TI, 0.0, "007"), known(SR, TI, 3.0, "2"), known(PB, TI, 0.5, "3")],
        "val": [known(TI, BA, 0.2, "4"), known(SR, ZR, 0.9, "5")],
        "test": [known(PB, ZR, -1.0, "6"), known(BA, ZR, 0.8, "7"), known(ZR, PB, 5.0, "8")],
    }


def samples():
    clash = Crystal(4 * np.eye(3), [[0, 0, 0], [0.01, 0, 0]], [BA, OXYGEN])
    return [
        perovskite(BA, TI, a=4.0),  # train, .0, predicted 0
        perovskite(PB, ZR, a=4.05),  # test, -1, predicted .5
        again(perovskite(PB, ZR)),  # the same again
        BrokenEntry(3, "unreadable"),
        clash,
        perovskite(TI, BA, a=4.0),  # val, .2
        perovskite(SR, TI, a=4.0),  # train, 3: no hit, though predicted 0
        perovskite(BA, SR, a=4.0),  # matches nothing
        perovskite(BA, ZR, a=4.2),  # test, .8, predicted 2
        perovskite(BA, TI, a=4.01),  # train again
    ]


def protocol(**changes):
    fields = {
        "task": "optimisation", "evaluator": Scale(), "lookup": parts(), "train": parts()["train"],
        "thresholds": (0.8, 1.0, 4.0), "num_workers": 0, "num_bootstrap": 0, "progress": False,
    }  # fmt: skip
    return Protocol(**{**fields, **changes})


def test_counts_by_hand():
    found = evaluate(samples(), protocol())
    value = {key: estimate.value for key, estimate in found.metrics.items()}
    table = found.table
    parts_found = ["train", "test", "test", "", "", "val", "train", "", "test", "train"]
    assert table["known_part"].tolist() == parts_found
    assert table["known_id"].tolist() == ["007", "6", "6", "", "", "4", "2", "", "7", "007"]
    assert table["known_index"].tolist() == [0, 0, 0, -1, -1, 0, 1, -1, 1, 0]
    np.testing.assert_array_equal(
        table["known_value"], [0, -1, -1, np.nan, np.nan, 0.2, 3, np.nan, 0.8, 0]
    )
    assert value["lookup_matched"] == pytest.approx(0.7)
    assert value["lookup_sr5_all"] == pytest.approx(0.6)  # BaTiO3 and PbZrO3 twice, TiBaO3, BaZrO3
    assert value["lookup_sr10_all"] == pytest.approx(0.6)
    assert value["lookup_sr15_all"] == pytest.approx(0.7)
    predicted = Scale().predict(samples())
    errors = np.abs(predicted - table["known_value"].to_numpy())
    assert value["lookup_mae"] == pytest.approx(np.nanmean(errors))
    assert value["distinct_hits"] == 4
    assert value["new_hits"] == 3
    # val and test hold three at or below .8: all of them are found
    assert value["held_out_found@10"] == 1
    assert found.metrics["distinct_hits"].low is None
    assert set(found.definitions) == set(found.metrics)
    assert "held_out_found@1000" not in value


def test_hits_by_the_evaluator_are_counted_without_a_look_up():
    found = evaluate(samples(), protocol(lookup={}))
    table, value = found.table, {key: e.value for key, e in found.metrics.items()}
    assert not [key for key in value if key.startswith("lookup") or key.endswith("_hits")]
    hits = table["valid"] & table["first"] & (table["predicted"] <= 0.8)
    assert value["distinct_hits_predicted"] == hits.sum() > 2
    assert value["new_hits_predicted"] == (hits & table["novel"]).sum()
    assert 0 < value["new_hits_predicted"] < value["distinct_hits_predicted"]
    some = evaluate(samples(), protocol(lookup={}, novelty_of=1)).metrics
    assert "new_hits_predicted" not in some
    assert some["distinct_hits_predicted"].value == value["distinct_hits_predicted"]


def test_nothing_matches():
    found = evaluate([perovskite(13, 14), BrokenEntry(1, "x")], protocol()).metrics
    assert found["lookup_matched"].value == 0
    assert found["lookup_sr15_all"].value == 0
    assert np.isnan(found["lookup_mae"].value)
    assert (found["distinct_hits"].value, found["held_out_found@2"].value) == (0, 0)
    broken = evaluate([BrokenEntry(0, "x"), BrokenEntry(1, "y")], protocol()).metrics
    assert broken["lookup_matched"].value == 0


def draws(places, values, number):
    """A table of so many draws of which some match: draw (from 1) to known crystal."""
    table = pd.DataFrame({
        "known_part": [""] * number, "known_index": -1, "known_id": "", "known_value": np.nan,
    })  # fmt: skip
    for draw, (part, index) in places.items():
        table.loc[draw - 1, ["known_part", "known_index", "known_value"]] = (
            part, index, values[part, index],
        )  # fmt: skip
    return table


def test_shares_among_the_first_draws():
    values = {("train", 0): 0.0, ("val", 0): 0.1, ("test", 0): 0.2, ("test", 1): 9.0}
    places = {
        1: ("test", 1), 2: ("train", 0), 1000: ("val", 0), 1001: ("test", 0), 1400: ("val", 0),
    }  # fmt: skip
    found = hit_counts(draws(places, values, 1500), 1.0, held_out=4)
    assert {key: estimate.value for key, estimate in found.items()} == {
        "distinct_hits": 3, "new_hits": 2, "held_out_found@1000": 0.25, "held_out_found@1500": 0.5,
    }  # fmt: skip
    assert distinct_hits(draws(places, values, 1500), 1.0)["draw"].tolist() == [2, 1000, 1001]
    exactly = hit_counts(draws({5: ("val", 0)}, values, 1000), 1.0, held_out=1)
    assert [key for key in exactly if "@" in key] == ["held_out_found@1000"]


def test_what_is_said_against_a_training_part_needs_one():
    everything = {"known": [c for part in parts().values() for c in part]}
    found = evaluate(samples(), protocol(lookup=everything)).metrics
    assert found["distinct_hits"].value == 4
    assert not {"new_hits", "held_out_found@10"} & set(found)
    assert held_out_hits(parts(), "energy", 0.8) == 3
    assert held_out_hits({"train": parts()["train"]}, "energy", 0.8) == 0


def test_without_an_evaluator_the_property_is_named():
    found = evaluate(
        samples(), protocol(task="generation", evaluator=None, lookup_property="energy")
    ).metrics
    assert found["lookup_sr5_all"].value == pytest.approx(0.6)
    assert "lookup_mae" not in found
    fields = {"evaluator": None, "task": "generation", "lookup_property": "energy"}
    free = evaluate(samples(), protocol(**fields, thresholds=None, train=())).metrics
    assert set(free) >= {"lookup_matched"}
    assert "lookup_sr5_all" not in free
    limits = protocol(**fields, thresholds=None).success_thresholds()
    assert limits == pytest.approx(np.percentile([0.0, 3.0, 0.5], (5, 10, 15)))


def test_look_ups_that_cannot_be():
    with pytest.raises(ValueError, match="name of a property"):
        protocol(task="generation", evaluator=None)
    with pytest.raises(ValueError, match="the evaluator predicts 'energy', and 'gap'"):
        protocol(lookup_property="gap")
    with pytest.raises(ValueError, match="no known crystal of the look-up has a value of 'energy'"):
        protocol(lookup={"train": [perovskite(BA, TI)]})


def test_kept_evaluations_of_a_look_up(tmp_path):
    first = scored(tmp_path / "row", samples(), protocol())
    read = scored(tmp_path / "row", samples(), protocol(), before=lambda: pytest.fail("anew"))
    assert read.metrics == first.metrics
    pd.testing.assert_frame_equal(
        read.table[["known_value", "known_part", "known_index", "known_id"]],
        first.table[["known_value", "known_part", "known_index", "known_id"]],
    )
    changed = parts()
    changed["test"][0] = dataclasses.replace(
        changed["test"][0], info={"energy": 7.0, "material_id": "6"}
    )
    anew = scored(tmp_path / "row", samples(), protocol(lookup=changed))
    assert anew.table["known_value"][1] == 7.0


def test_what_the_look_up_covers():
    whole = lookup_facts(protocol(), 8)
    assert (whole["known"], whole["hits"], whole["held_out_hits"]) == (8, 5, 3)
    assert whole["text"] == (
        "look-up: energy of 8 known crystals, the whole space (train 3, val 2, test 3)"
    )
    assert "8 known crystals of the 18,928 of the whole space" in lookup_facts(
        protocol(), 18_928
    )["text"]  # fmt: skip
    assert "8 known crystals (train" in lookup_facts(protocol())["text"]


def test_definitions_of_counts_over_the_first_samples():
    assert definition("held_out_found@10000").endswith("Among the first 10,000 samples.")
    assert definition("cov_recall@symat").endswith("Cut-offs of symat.")
    assert "known value" in definition("lookup_sr10_all")
