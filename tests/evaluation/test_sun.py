"""S.U.N. and its parts, counted on a table made by hand."""

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.sun import by_size, counted, on_target, sun_metrics

NAN = float("nan")
# Kind 0: entries 0, 1, 4; the first is no more than metastable, the second is stable. Kind 2 is
# known. Kind 3 is stable and has no hull in its second member. Entry 6 is invalid, entry 7 failed,
# kind 8 is far from the hull.
TABLE = pd.DataFrame(
    {
        "valid": [True, True, True, True, True, True, False, True, True, True],
        "kind": [0, 0, 2, 3, 0, 3, NAN, 7, 8, 2],
        "novel": [1, 1, 0, 1, 1, 1, NAN, 1, 1, 0],
        "num_atoms": [2, 4, 6, 8, 10, 12, 0, 24, 3, 6],
        "e_above_hull": [0.05, -0.01, 0.0, 0.0, 0.02, NAN, NAN, NAN, 0.4, 0.1],
        "e_above_hull_submitted": [0.3, 0.09, 0.0, 0.2, 0.3, NAN, NAN, NAN, 0.9, 0.3],
        "relaxed_energy": [-1.0] * 6 + [NAN, NAN, -1.0, -1.0],
        "relax_rms": [0.1, 0.2, 0.0, 0.3, 1.5, 0.2, NAN, NAN, 0.4, 0.1],
        "relax_converged": [1, 1, 1, 0, 1, 1, NAN, NAN, 0, 1],
        "volume_change": [0.1, -0.1, 0.0, 0.2, 0.0, 0.0, NAN, NAN, -0.4, 0.0],
        "predicted": [0.0, 1.0, 0.0, 3.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0],
    }
)


def values(table=TABLE, **fields):
    found = sun_metrics(table, Protocol(num_bootstrap=0, **fields))
    assert all(definition(key) for key in found)
    return {key: estimate.value for key, estimate in found.items()}


def test_shares_of_all_generated():
    found = values()
    assert found["stable_at_hull"] == pytest.approx(3 / 10)  # entries 1, 2, 3
    assert found["metastable"] == pytest.approx(6 / 10)  # and 0, 4, 9; 0.1 itself is within
    assert found["unique_of_all"] == pytest.approx(5 / 10)  # kinds 0, 2, 3, 7, 8
    assert found["novel_of_all"] == pytest.approx(7 / 10)
    # kind 0 counts though its first member is not stable, kind 2 is known, kind 3 counts
    assert found["sun_at_hull"] == pytest.approx(2 / 10)
    assert found["msun"] == pytest.approx(2 / 10)  # twice within reach, counted once
    assert found["stable_at_hull_submitted"] == pytest.approx(1 / 10)
    assert found["metastable_submitted"] == pytest.approx(2 / 10)
    assert found["sun_at_hull_submitted"] == 0
    assert found["msun_submitted"] == pytest.approx(1 / 10)


def test_crystals_far_below_the_hull_are_told_and_can_be_left_out():
    assert values()["far_below_hull"] == 0
    assert values()["sun_at_hull_plausible"] == values()["sun_at_hull"]
    table = TABLE.assign(e_above_hull=[0.05, -0.5, 0.0, 0.0, 0.02, NAN, NAN, NAN, -0.1, 0.1])
    found = values(table, interval=(0.0, 2.0))
    assert found["far_below_hull"] == pytest.approx(1 / 10)  # entry 1; -0.1 itself is near
    assert found["sun_at_hull"] == pytest.approx(3 / 10)  # kinds 0, 3, 8
    assert found["sun_at_hull_plausible"] == pytest.approx(2 / 10)  # kind 0 by entry 1 alone
    assert found["msun_plausible"] == pytest.approx(3 / 10)  # kind 0 by entry 0
    assert found["sun_at_hull_on_target_plausible"] == pytest.approx(1 / 10)  # kind 8


def test_relaxations_of_the_valid_crystals():
    found = values()
    assert found["relax_failed"] == pytest.approx(1 / 9)
    assert found["relax_converged"] == pytest.approx(6 / 9)
    assert found["relax_rms_median"] == pytest.approx(0.2)
    assert found["moved_far"] == pytest.approx(1 / 8)
    assert found["volume_change"] == pytest.approx(0.8 / 8)
    assert found["hull_unknown"] == pytest.approx(1 / 9)


def test_on_target_per_crystal_and_per_relaxation():
    found = values(interval=(0.0, 1.0))
    assert found["on_target"] == pytest.approx(8 / 9 * 9 / 10)  # all valid ones but entry 3
    assert found["sun_at_hull_on_target"] == pytest.approx(1 / 10)  # kind 0 by entry 1
    assert found["msun_on_target"] == pytest.approx(1 / 10)
    assert found["sun_at_hull_on_target_per_relaxation"] == pytest.approx(1 / 9)
    narrow = values(interval=(0.0, 0.7))  # entry 1 is stable, and misses
    assert narrow["sun_at_hull_on_target"] == 0
    assert narrow["msun_on_target"] == pytest.approx(1 / 10)
    assert not [key for key in values() if "target" in key]


def test_on_target_is_at_most_the_limit_of_sr5_without_an_interval():
    hit = on_target(TABLE, Protocol(thresholds=(0.5, 1.0, 2.0)))
    np.testing.assert_array_equal(hit, TABLE["predicted"] <= 0.5)
    assert on_target(TABLE.drop(columns="predicted"), Protocol(interval=(0, 1))) is None
    with pytest.raises(ValueError, match="the interval of the target is empty"):
        Protocol(interval=(1.0, 0.0))


def test_relaxed_crystals_that_become_one_or_a_known_one_count_no_more():
    table = TABLE.assign(
        kind_relaxed=[0, 0, 2, 0, 0, NAN, NAN, NAN, NAN, 2],
        novel_relaxed=[1, 1, 0, 1, 1, NAN, NAN, NAN, NAN, 0],
    )
    found = values(table)
    assert found["sun_at_hull"] == pytest.approx(2 / 10)
    assert found["sun_at_hull_relaxed"] == pytest.approx(1 / 10)  # kind 3 became kind 0
    assert found["msun_relaxed"] == pytest.approx(1 / 10)
    known = values(table.assign(novel_relaxed=[0, 0, 0, 0, 1, *[NAN] * 4, 0]))
    assert known["sun_at_hull_relaxed"] == 0
    assert known["msun_relaxed"] == pytest.approx(1 / 10)


def test_rates_are_left_out_where_not_all_were_compared():
    table = TABLE.assign(novel=[1, 1, NAN, 1, 1, 1, NAN, 1, 1, 0])
    found = values(table)
    assert not {"sun_at_hull", "msun", "novel_of_all"} & set(found)
    assert found["stable_at_hull"] == pytest.approx(3 / 10)
    # a crystal far from the hull need not be compared
    table = TABLE.assign(novel=[1, 1, 0, 1, 1, 1, NAN, 1, NAN, 0])
    assert values(table)["msun"] == pytest.approx(2 / 10)
    assert counted(TABLE.drop(columns="novel"), np.ones(10, dtype=bool)) is None


def test_novelty_against_a_database_wins():
    table = TABLE.assign(novel_database=[0, 0, 0, 1, 0, 1, NAN, 1, 1, 0])
    assert values(table)["sun_at_hull"] == pytest.approx(1 / 10)


def test_several_judges_have_rates_of_their_own():
    table = TABLE.rename(columns={"relax_converged": "relax_converged@a"})
    for name in ("e_above_hull", "relax_rms", "volume_change"):
        table[f"{name}@a"] = TABLE[name]
        table[f"{name}@b"] = TABLE[name] + 0.05
    table["e_above_hull_spread"] = 0.05
    found = values(table)
    assert found["stable_at_hull@a"] == pytest.approx(3 / 10)
    assert found["stable_at_hull@b"] == 0
    assert found["msun@b"] == pytest.approx(2 / 10)
    assert found["relax_rms@b"] == pytest.approx(2.8 / 8 + 0.05)
    assert found["judges_differ"] == pytest.approx(0.05)
    assert "By the judge b alone" in definition("msun@b")


def test_rates_by_number_of_atoms():
    rows = by_size(TABLE, Protocol(num_bootstrap=0)).set_index("atoms")
    assert rows["crystals"].to_dict() == {"1-4": 3, "5-8": 3, "9-12": 2, "21+": 1}
    assert rows.loc["1-4", "sun_at_hull"] == pytest.approx(1 / 3)
    assert rows.loc["5-8", "metastable"] == pytest.approx(3 / 3)
    assert rows.loc["21+", "msun"] == 0
    assert np.isnan(rows.loc["21+", "relax_rms"])


def test_intervals_are_those_of_shares_of_all():
    found = sun_metrics(TABLE, Protocol(num_bootstrap=200))
    for key in ("sun_at_hull", "msun", "relax_rms_median", "hull_unknown"):
        estimate = found[key]
        assert estimate.low <= estimate.value <= estimate.high
