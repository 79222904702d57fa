"""Warnings of implausible results: each fires, and a plausible result has none."""

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.evaluation.plausibility import implausible

SETTINGS = {"steps": 500, "fmax": 0.05, "smax": 0.4, "cell": True}
SIZE = 20


def table(**columns):
    """Twenty plausible crystals, some columns replaced."""
    plausible = {
        "valid": True, "novel": 1.0, "e_above_hull": np.linspace(0.0, 0.5, SIZE),
        "relaxed_energy": -1.0, "relax_rms": 0.2, "relax_converged": 1.0,
    }  # fmt: skip
    return pd.DataFrame({**plausible, **columns}, index=range(SIZE))


def facts(hull=(), **others):
    """What a judge says of itself, its hull made by it with the same settings."""
    own = {"judge": "toy 1", "settings": SETTINGS, "scheme": "own", **dict(hull)}
    base = {"name": "toy", "judge": "toy 1", "settings": SETTINGS, "scheme": "own", "hull": own}
    return {**base, "outside": {"crystals": 0, "elements": []}, **others}


def share(part, value, other):
    """A column with a value in a part of the rows."""
    return [value] * round(part * SIZE) + [other] * (SIZE - round(part * SIZE))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"e_above_hull": 0.0, "novel": 0.0}, "100% of the valid crystals are within 0.1"),
        ({"e_above_hull": share(0.55, np.nan, 0.1)}, "the hull is unknown for 55%"),
        ({"relax_rms": share(0.3, 1.5, 0.1)}, "the atoms of 30% of the crystals moved more than 1"),
        (
            {"relaxed_energy": share(0.5, np.nan, -1.0), "e_above_hull": share(0.5, np.nan, 0.1)},
            "no energy for 50%",
        ),
        ({"relax_converged": share(0.6, 0.0, 1.0)}, "60% of the relaxations did not converge"),
        ({"e_above_hull": -0.4}, "100% of the crystals lie more than 0.1 eV/atom below the hull"),
        ({"e_above_hull": share(0.05, -0.4, 0.1)}, "5% of the crystals lie more than 0.1 eV/atom"),
    ],
)
def test_tables_that_are_implausible(columns, message):
    (line,) = implausible(table(**columns), [facts()])
    assert message in line


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (facts(outside={"crystals": 3, "elements": ["Fr", "Ra"]}), "3 crystals hold Fr, Ra"),
        (facts({"judge": "other 2"}), "the hull was made by other 2"),
        (facts({"settings": {"steps": 0}}), "the hull is of unrelaxed energies"),
        (facts({"settings": {**SETTINGS, "fmax": 0.1}}), "relaxed with other settings"),
        (facts({"judge": "", "scheme": ""}), "does not say on which energy scale"),
        (facts({"judge": "", "scheme": "MP2020"}), "the scheme 'own', the hull of 'MP2020'"),
        (
            facts({"judge": ""}, name="energies", scheme="PBE"),
            "the scheme 'PBE', the hull of 'own'",
        ),
    ],
)
def test_judges_and_hulls_that_do_not_fit(judge, message):
    (line,) = implausible(table(), [judge])
    assert message in line
    assert line.startswith("toy 1: ")


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"e_above_hull": 0.0},  # stable, and new
        {"novel": 0.0},  # known, and not all stable
        {"e_above_hull": share(0.5, np.nan, 0.1)},
        {"relax_rms": share(0.25, 1.5, 0.1)},
        {"relaxed_energy": share(0.45, np.nan, -1.0)},
        {"e_above_hull": -0.1},
        {"relax_converged": share(0.5, 0.0, 1.0)},
    ],
)
def test_plausible_results_have_no_warning(columns):
    assert implausible(table(**columns), [facts()]) == []


def test_single_points_against_single_points_are_no_matter():
    assert implausible(table(), [facts({"settings": {"steps": 0}}, settings={"steps": 0})]) == []


def test_few_crystals_say_nothing_but_the_hull_is_looked_at():
    few = table(e_above_hull=0.0, novel=0.0).iloc[:5]
    assert implausible(few, [facts()]) == []
    assert len(implausible(few, [facts({"judge": "other 2"})])) == 1


def test_of_several_judges_the_one_is_named():
    both = table()
    for name in ("e_above_hull", "relaxed_energy", "relax_rms", "relax_converged"):
        both[f"{name}@toy"] = both[name]
        both[f"{name}@far"] = both[name] * (10 if name == "relax_rms" else 1)
    far = facts({"judge": "far 3"}, name="far", judge="far 3")
    (line,) = implausible(both, [facts(), far])
    assert line.startswith("far 3: the atoms of 100%")
