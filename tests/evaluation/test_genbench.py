"""GenBench's families against formulas worked out by hand, and what must not change them."""

import json
import math
import sys
from itertools import combinations_with_replacement, product

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.bond_valence import BVAnalyzer
from pymatgen.core import Element
from scipy.linalg import sqrtm
from scipy.stats import entropy

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.genbench import (
    ElementTables,
    GenBench,
    chgnet_embeddings,
    distribution,
    diversity,
    fingerprint,
    frechet_distance,
    genbench_metrics,
    jensen_shannon_distance,
    mean_discrepancy,
    rows,
)
from pyg_crysdiff.evaluation.genbench.oxidation import balanced, valences_possible
from pyg_crysdiff.evaluation.genbench.resources import supply_concentration
from pyg_crysdiff.evaluation.genbench.rows import genbench_columns, tight_groups
from pyg_crysdiff.evaluation.genbench.validity import charge_neutral, distances_ok, plausible
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.evaluation.results import Results
from tests.conftest import make_crystal

TABLES = ElementTables.of(None)
CHECKS = ["charge_neutral_icsd", "min_distance_ok", "plausible", "genbench_valid"]


def rock_salt(a=5.64, numbers=(11, 17)):
    lattice = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, [[0, 0, 0], [0.5, 0.5, 0.5]], numbers)


def cubic(a, number):
    return Crystal(a * np.eye(3), [[0, 0, 0]], [number])


def doubled(crystal):
    """The same crystal in a cell twice as long."""
    frac = np.concatenate([crystal.frac_coords, np.add(crystal.frac_coords, [1, 0, 0])]) / [2, 1, 1]
    lattice = crystal.lattice * [[2], [1], [1]]
    return Crystal(lattice, frac, np.tile(crystal.atomic_numbers, 2))


def a_few():
    return [rock_salt(), rock_salt(4.2, (12, 8)), rock_salt(6.0, (19, 17)), cubic(2.6, 29)]


def quick(**changes):
    return {"num_workers": 0, "num_bootstrap": 20, **changes}


# --- charge


def listed(numbers, states):
    """Charge balance by going through every choice of states, as the original does."""
    elements, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)

    def sums(known, count):
        combinations = combinations_with_replacement(known, count)
        return {sum(c) for c in combinations if max(c) - min(c) <= 1} - {0}

    if any(z not in states for z in elements):
        return False
    usual = [sums(states[z], n) for z, n in zip(elements, counts, strict=True)]
    if any(sum(choice) == 0 for choice in product(*usual)):
        return True
    facts = [Element.from_Z(int(z)) for z in elements]
    every = [sums(e.oxidation_states, n) for e, n in zip(facts, counts, strict=True)]
    choices = [np.array(c) / counts for c in product(*every) if sum(c) == 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return any(np.corrcoef(c, [e.X for e in facts])[0, 1] < 0 for c in choices)


def test_charges_that_can_be_reached_decide_as_listing_every_choice_does(rng):
    found = []
    for _ in range(400):
        count = int(rng.integers(1, 4))
        elements = rng.choice([1, 3, 6, 7, 8, 12, 16, 17, 22, 26, 29, 51, 54, 87], count, False)
        numbers = np.repeat(elements, rng.integers(1, 5, count))
        found.append((balanced(numbers, TABLES.oxidation_states), numbers))
        assert found[-1][0] == listed(numbers, TABLES.oxidation_states), numbers
    assert 50 < sum(verdict for verdict, _ in found) < 350


def test_the_second_list_of_states_asks_for_electronegativity():
    few = {11: (1,), 17: (5,), 26: (2, 3), 8: (-2,)}
    assert balanced([26, 26, 8, 8, 8], few)
    assert balanced([26, 26, 26, 8, 8, 8, 8], few)  # 2+, 3+, 3+
    assert balanced([11, 17], few)  # of all states: Na+ Cl-
    assert not balanced([11, 55], few)  # Cs is missing
    assert not balanced([11], few)


@pytest.mark.parametrize(
    ("crystal", "neutral"),
    [
        (rock_salt(), True),
        (rock_salt(3.0, (22, 28)), True),  # NiTi: a metal
        (rock_salt(5.4, (14, 14)), True),  # no bonds between different elements
        (rock_salt(4.2, (2, 8)), False),  # He O: nothing is known of helium
        (rock_salt(6.0, (55, 79)), True),  # CsAu: bond valences between metals are zero
        (Crystal(4 * np.eye(3), [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]], [9, 9, 9]), True),
        (Crystal(5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]], [11, 17, 17]), False),
    ],
)
def test_ways_to_be_neutral(crystal, neutral):
    assert charge_neutral(crystal, TABLES) is neutral
    assert charge_neutral(doubled(crystal), TABLES) is neutral


def test_valences_are_spared_only_where_none_can_be_assigned(rng):
    found = []
    for _ in range(150):
        crystal = make_crystal(rng, int(rng.integers(2, 6)), (1, 3, 8, 12, 14, 17, 26))
        try:
            assigned = bool(BVAnalyzer().get_valences(crystal.to_structure()))
        except ValueError:
            assigned = False
        possible = valences_possible(crystal.atomic_numbers.tolist())
        assert possible or not assigned
        found.append((possible, assigned))
    assert {(True, True), (False, False)} <= set(found)
    assert not valences_possible([2, 8])  # nothing is known of helium
    assert not valences_possible([11, 17, 17])


# --- distances, plausibility, supply


def test_least_distance_is_half_of_the_radii_and_0_7():
    apart = 0.5 * (0.7 + 1.80 + 1.00)  # Na, Cl
    for distance, ok in ((apart - 0.01, False), (apart + 0.01, True)):
        pair = Crystal(10 * np.eye(3), [[0, 0, 0], [distance / 10, 0, 0]], [11, 17])
        assert distances_ok(pair) is ok
        across = Crystal(10 * np.eye(3), [[0, 0, 0], [1 - distance / 10, 0, 0]], [11, 17])
        assert distances_ok(across) is ok
    # An atom does not see its own images; in a longer cell they are other atoms.
    assert distances_ok(cubic(1.5, 29))
    assert not distances_ok(doubled(cubic(1.5, 29)))


@pytest.mark.parametrize(
    ("crystal", "ok"),
    [
        (cubic(3.6, 29), True),
        (cubic(1.6, 29), False),  # 25.8 g/cm^3
        (cubic(1.62, 29), True),
        (cubic(1.25, 1), False),  # 0.512 atoms per cubic Angstrom
        (cubic(1.27, 1), True),
        (cubic(5.6, 1), False),  # 0.0095 g/cm^3
        (Crystal(np.diag([0.99, 5, 5]), [[0, 0, 0]], [29]), False),
        (Crystal(np.diag([101.0, 3, 3]), [[0, 0, 0]], [29]), False),
    ],
)
def test_plausible_bounds(crystal, ok):
    assert plausible(crystal, 1) is ok
    assert not plausible(crystal, 0)


def test_supply_is_the_mean_over_atoms():
    np.testing.assert_allclose(supply_concentration(rock_salt(), TABLES), [1.3, 1.0])
    np.testing.assert_allclose(supply_concentration(doubled(rock_salt()), TABLES), [1.3, 1.0])
    # Uranium has no value and counts 10, hydrogen 0.
    uh3 = Crystal(np.eye(3) * 4, np.zeros((4, 3)), [92, 1, 1, 1])
    np.testing.assert_allclose(supply_concentration(uh3, TABLES), [2.5, 2.5])


# --- element data of a checkout


def checkout(folder, states=None, production=None):
    """A stand-in for a checkout, with numbers of its own."""
    (folder / "data").mkdir(parents=True)
    states = {"Na": [1], "Cl": [-1, 7], "Cu": [1, 2]} if states is None else states
    (folder / "data/lemat_icsd_oxi_state_mapping.json").write_text(json.dumps(states))
    data = folder / "src/lemat_genbench/metrics/data"
    data.mkdir(parents=True)
    table = {"hhi_production": production or {"Na": 1102}, "hhi_reserve": {"Na": 500}}
    (data / "element_properties.json").write_text(json.dumps(table))
    return folder


def test_element_data_of_a_checkout(tmp_path):
    tables = ElementTables.of(checkout(tmp_path / "own"))
    assert (tables.source, tables.charge_key) == ("genbench", "charge_neutral")
    assert dict(tables.oxidation_states) == {11: (1,), 17: (-1, 7), 29: (1, 2)}
    assert tables.hhi[[11, 17]].tolist() == [[1102, 500], [10000, 10000]]
    with pytest.raises(FileNotFoundError, match=r"lemat_icsd_oxi_state_mapping\.json is missing"):
        ElementTables.of(tmp_path / "nothing")
    with pytest.raises(ValueError, match="cannot be used"):
        ElementTables.of(checkout(tmp_path / "strange", states={"Xx": [1]}))
    with pytest.raises(ValueError, match="cannot be used"):
        ElementTables.of(checkout(tmp_path / "half", production={"Cl": 1500}))


# --- diversity


def test_entropy_and_vendi_score_by_the_eigenvalues_of_the_similarity():
    labels = np.array([0, 0, 0, 1, 1, 2])
    alike = (labels[:, None] == labels[None, :]) / len(labels)
    eigenvalues = np.clip(np.linalg.eigvalsh(alike), 0, None)
    assert diversity.shannon_entropy([3, 2, 1, 0]) == pytest.approx(entropy(eigenvalues))
    by_hand = -(0.5 * math.log(1 / 2) + math.log(1 / 3) / 3 + math.log(1 / 6) / 6)
    assert diversity.shannon_entropy([3, 2, 1]) == pytest.approx(by_hand)
    assert diversity.unevenness([3, 2, 1, 0]) == pytest.approx(math.log(3) - by_hand)
    assert diversity.unevenness([5, 5]) == pytest.approx(0)
    assert diversity.shannon_entropy([7]) == 0
    assert math.isnan(diversity.shannon_entropy([]))
    assert math.isnan(diversity.unevenness([0]))


def test_packing_factor_and_bins():
    copper = cubic(2.6, 29)
    assert diversity.packing_factor(copper) == pytest.approx(4 / 3 * math.pi * 1.32**3 / 2.6**3)
    assert diversity.packing_factor(doubled(copper)) == pytest.approx(
        diversity.packing_factor(copper)
    )
    assert diversity.packing_factor(cubic(1.5, 29)) == 1
    assert math.isnan(diversity.packing_factor(cubic(2.6, 110)))
    long = Crystal(np.diag([2.4, 2.5, 3.1]), [[0, 0, 0]], [29])
    bins = diversity.physical_bins([copper, long])
    assert {k: v.tolist() for k, v in bins.items()} == {
        "density": [12, 11], "length_a": [5, 4], "length_b": [5, 5], "length_c": [5, 6],
        "packing": [10, 10],
    }  # fmt: skip
    assert len(diversity.physical_bins([copper, cubic(2.6, 110)])["packing"]) == 1
    assert diversity.mean_box([rock_salt(4.0)]) == pytest.approx((4 / math.sqrt(2)) ** 3)


def test_diversity_of_four_crystals():
    found = {k: x.value for k, x in genbench_metrics(a_few(), **quick(num_bootstrap=0)).items()}
    atoms = [1, 1, 1, 2, 1, 1]  # Na, Mg, O, Cl, K, Cu
    assert found["entropy_elements"] == pytest.approx(entropy(atoms))
    assert found["vendi_elements"] == pytest.approx(math.exp(entropy(atoms)))
    assert found["coverage_elements"] == 6 / 118
    assert found["entropy_space_groups"] == pytest.approx(entropy([3, 1]))  # 225, 221
    assert found["coverage_space_groups"] == 2 / 230
    assert found["mean_symmetry"] == pytest.approx((3 * 225 + 221) / 4 / 230)
    assert found["vendi_sizes"] == pytest.approx(math.exp(entropy([3, 1])))
    assert found["mean_num_atoms"] == 7 / 4
    five = [
        found[f"entropy_{k}"] for k in ("density", "length_a", "length_b", "length_c", "packing")
    ]
    assert found["entropy_physical"] == pytest.approx(sum(five) / 2 / 5)


# --- distributions


def test_jensen_shannon_distance_by_hand():
    assert jensen_shannon_distance([3, 0], [0, 9]) == pytest.approx(math.sqrt(math.log(2)))
    mixed = [0.75, 0.25]  # of (1, 0) and (.5, .5)
    divergence = 0.5 * entropy([1, 0], mixed) + 0.5 * entropy([0.5, 0.5], mixed)
    assert jensen_shannon_distance([4, 0], [5, 5]) == pytest.approx(math.sqrt(divergence))
    assert jensen_shannon_distance([2, 6], [1, 3]) == pytest.approx(0, abs=1e-7)
    assert math.isnan(jensen_shannon_distance([0, 0], [1, 3]))


def test_mean_discrepancy_by_hand(monkeypatch, rng):
    near = math.exp(-0.5)
    assert mean_discrepancy([0.0], [1.0]) == pytest.approx(2 - 2 * near)
    assert mean_discrepancy([0.0], [2.0], sigma=2) == pytest.approx(2 - 2 * near)
    assert mean_discrepancy([0.0, 1.0], [0.0]) == pytest.approx((1 + near) / 2 + 1 - (1 + near))
    assert mean_discrepancy([[0.0, 1.0]], [[1.0, 0.0]]) == pytest.approx(2 - 2 * math.exp(-1))
    a, b = rng.random(50), rng.random(70)
    whole = mean_discrepancy(a, b)
    monkeypatch.setattr(distribution, "_BLOCK", 200)
    assert mean_discrepancy(a, b) == pytest.approx(whole, abs=1e-14)
    assert math.isnan(mean_discrepancy([], b))


def test_frechet_distance(rng):
    a, b = rng.normal(0, 1, 40), rng.normal(2, 3, 30)
    means, deviations = (a.mean() - b.mean()) ** 2, (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a[:, None], b[:, None]) == pytest.approx(means + deviations)
    a, b = rng.normal(size=(80, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 1
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(first @ second).real
    away = a.mean(0) - b.mean(0)
    expected = away @ away + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    flat = np.concatenate([a, np.zeros((80, 3))], axis=1)  # a singular covariance
    assert frechet_distance(flat, flat + 1) == pytest.approx(8)
    assert math.isnan(frechet_distance(a[:1], b))
    with pytest.raises(ValueError, match="two dimensions"):
        frechet_distance(a, b[:, :4])
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(a, np.where(b > 3, np.nan, b) * np.inf)


def test_crystal_systems_at_their_borders():
    groups = [1, 2, 3, 15, 16, 74, 75, 142, 143, 167, 168, 194, 195, 230]
    expected = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert distribution.crystal_systems(groups).tolist() == expected


# --- all of it


def test_distances_to_a_reference_and_to_itself():
    known = [*a_few(), rock_salt(4.21, (12, 8))]
    found = genbench_metrics(a_few(), known, **quick())
    assert found["jsd_space_group"].value == pytest.approx(jensen_shannon_distance([3, 1], [4, 1]))
    assert found["jsd_elements"].value == pytest.approx(
        jensen_shannon_distance([1, 1, 1, 2, 1, 1], [1, 2, 2, 2, 1, 1])
    )
    volumes = [[c.volume for c in crystals] for crystals in (a_few(), known)]
    assert found["mmd_volume"].value == pytest.approx(mean_discrepancy(*volumes))
    four = [found[f"jsd_{k}"].value for k in ("space_group", "crystal_system", "atoms", "elements")]
    assert found["jsd_mean"].value == pytest.approx(np.mean(four))
    itself = genbench_metrics(known, known, **quick(num_bootstrap=0))
    assert itself["jsd_mean"].value == pytest.approx(0, abs=1e-7)
    assert itself["mmd_mean"].value == pytest.approx(0, abs=1e-12)


def test_order_changes_nothing(rng):
    crystals = [*a_few(), *(make_crystal(rng, 4) for _ in range(6))]
    options = quick(num_bootstrap=0, settings=GenBench(only_valid=False))
    first = genbench_metrics(crystals, a_few(), **options)
    second = genbench_metrics(crystals[::-1], a_few()[::-1], **options)
    assert first.keys() == second.keys()
    for key, estimate in first.items():
        assert second[key].value == pytest.approx(estimate.value, rel=1e-9, abs=1e-12), key


def test_all_at_once_is_one_by_one(rng):
    crystals = [*a_few(), *(make_crystal(rng, 5) for _ in range(4))]
    together = genbench_columns(crystals, GenBench(), num_workers=0)
    for k, crystal in enumerate(crystals):
        alone = genbench_columns([crystal], GenBench(), num_workers=0)
        assert alone.iloc[0].tolist() == together.iloc[k].tolist()


def test_space_groups_of_a_reference_are_kept(tmp_path, monkeypatch):
    assert tight_groups(a_few(), num_workers=0, cache_dir=tmp_path) == [225, 225, 225, 221]
    monkeypatch.setattr(rows, "_group", pytest.fail)
    assert tight_groups(a_few(), num_workers=0, cache_dir=tmp_path) == [225, 225, 225, 221]
    monkeypatch.setattr(rows, "_group", lambda _: 1)
    assert tight_groups(a_few()[:2], num_workers=0, cache_dir=tmp_path) == [1, 1]


def test_without_crystals_and_with_one():
    nothing = genbench_metrics([], a_few(), **quick())
    assert all(math.isnan(x.value) for k, x in nothing.items() if "coverage" not in k)
    one = genbench_metrics([rock_salt()], **quick())
    assert one["genbench_valid"].value == 1
    assert one["vendi_space_groups"].value == 1
    assert math.isnan(one["entropy_physical"].value)  # the logarithm of one crystal is zero
    assert not any(key.startswith(("jsd", "mmd", "frechet")) for key in one)
    bad = genbench_metrics([BrokenEntry(0, "no cell")], a_few(), **quick())
    assert bad["genbench_valid"].value == 0
    assert math.isnan(bad["hhi_production"].value)


def test_only_valid_crystals_are_described_unless_all_are_wanted():
    close = Crystal(5 * np.eye(3), [[0, 0, 0], [0.2, 0, 0]], [92, 8])
    some = genbench_metrics([rock_salt(), close], **quick())
    every = genbench_metrics([rock_salt(), close], settings=GenBench(only_valid=False), **quick())
    assert some["min_distance_ok"].value == every["min_distance_ok"].value == 0.5
    assert some["hhi_production"].value == pytest.approx(1.3)
    assert every["hhi_production"].value == pytest.approx((1.3 + 5.25) / 2)


def test_embeddings_of_any_model(rng):
    a, b = rng.normal(size=(10, 3)), rng.normal(size=(12, 3))
    found = genbench_metrics(a_few(), embeddings=(a, b), **quick())
    assert found["frechet_embeddings"].value == frechet_distance(a, b)


def test_embeddings_of_chgnet():
    pytest.importorskip("chgnet")
    unknown = rock_salt(numbers=(110, 17))
    found = chgnet_embeddings([rock_salt(), doubled(rock_salt()), unknown], num_workers=0)
    assert found.shape == (3, 64)
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    assert np.isnan(found[2]).all()


def test_evaluate_with_genbench(tmp_path):
    entries = [*a_few(), BrokenEntry(4, "no cell"), rock_salt(2.9)]
    protocol = Protocol(
        reference=a_few(), cutoffs={"here": (0.4, 10)}, genbench=GenBench(), uniqueness=False,
        progress=False, **quick(),
    )  # fmt: skip
    found = evaluate(entries, protocol)
    assert found.table["genbench_valid"].tolist() == [True] * 4 + [False] * 2
    assert found.table["space_group_tight"].tolist() == [225, 225, 225, 221, 0, 225]
    assert found.table[CHECKS].iloc[5].tolist() == [True, False, True, False]
    assert found.metrics["genbench_valid"].value == pytest.approx(4 / 6)
    assert found.metrics["jsd_mean"].value == pytest.approx(0, abs=1e-7)
    assert found.metrics["frechet_structure"].value == pytest.approx(0, abs=1e-6)
    assert all(found.definitions[key] == definition(key) for key in found.metrics)
    alone = genbench_metrics(entries, a_few(), **quick())
    assert {k: v for k, v in found.metrics.items() if k in alone} == alone
    # Kept, read again, and not taken for an evaluation with other element data.
    kept = scored(tmp_path / "a", entries, protocol)
    assert scored(tmp_path / "a", entries, protocol, before=pytest.fail).metrics == kept.metrics
    own = Protocol(
        genbench=GenBench(checkout(tmp_path / "data")), uniqueness=False, progress=False,
        **quick(),
    )  # fmt: skip
    again = scored(tmp_path / "a", entries, own)
    assert "charge_neutral_icsd" not in again.table
    assert again.table["charge_neutral"].tolist()[3:] == [True, False, True]
    assert again.table["hhi_production"][0] == pytest.approx((1.102 + 10) / 2)


def test_command_line(tmp_path, capsys):
    write_extxyz(a_few(), tmp_path / "a.extxyz")
    words = ["evaluate", str(tmp_path / "a.extxyz"), "--workers", "0", "--bootstrap", "0"]
    words += ["--out", str(tmp_path / "scores")]
    main([*words, "--genbench"])
    assert "vendi_elements" in capsys.readouterr().out
    table = pd.read_csv(next((tmp_path / "scores").glob("*.csv")))
    assert table["genbench_valid"].tolist() == [True] * 4
    results = Results.load(tmp_path / "scores" / "results.json")
    mean = table["hhi_production"].mean()
    assert results.rows[0].metrics["hhi_production"].value == pytest.approx(mean)
    with pytest.raises(SystemExit):
        main([*words, "--genbench-data", str(tmp_path)])
    assert "lemat_icsd_oxi_state_mapping.json is missing" in capsys.readouterr().err
    main([*words, "--genbench-data", str(checkout(tmp_path / "data"))])
    assert "charge_neutral  " in capsys.readouterr().out


# --- fingerprint


HASHER = """
class BAWLHasher:
    def __init__(self, **options):
        assert options["include_composition"] and not options["shorten_hash"]
    def get_material_hash(self, structure):
        if "Cu" in structure.formula:
            raise ValueError("no bonds")
        return structure.composition.formula + f"{structure.volume:.0f}"
"""


def test_without_the_package_of_the_fingerprint():
    if fingerprint.available():
        pytest.skip("material-hasher is installed")
    assert "uniqueness_bawl" not in genbench_metrics(a_few(), **quick())
    with pytest.raises(ImportError, match="lematerial-hasher"):
        genbench_metrics(a_few(), settings=GenBench(bawl=True), **quick())


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Make a material_hasher with this content importable."""

    def install(content):
        package = tmp_path / "material_hasher" / "hasher"
        package.mkdir(parents=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").touch()
        (package / "bawl.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in [name for name in sys.modules if name.startswith("material_hasher")]:
        del sys.modules[name]


def test_a_package_that_cannot_be_imported_is_no_package(stand_in):
    stand_in("import nothing_of_this_name")
    assert not fingerprint.available()
    with pytest.raises(ImportError, match="nothing_of_this_name"):
        fingerprint.bawl_fingerprints(a_few(), num_workers=0)


def test_a_package_that_fails_on_everything_says_so(stand_in):
    stand_in(HASHER.replace('"Cu" in structure.formula', "True"))
    with pytest.raises(RuntimeError, match=r"fails on every crystal.*no bonds"):
        fingerprint.bawl_fingerprints(a_few(), num_workers=0)
    with pytest.warns(UserWarning, match="left out"):
        assert "uniqueness_bawl" not in genbench_metrics(a_few(), **quick())


def test_uniqueness_and_novelty_by_fingerprint(stand_in):
    stand_in(HASHER)
    crystals = [*a_few(), rock_salt(), rock_salt()]
    found = genbench_metrics(
        crystals,
        train=[rock_salt(4.2, (12, 8)), cubic(2.6, 29), doubled(rock_salt())],
        **quick(),
    )
    # Copper has no fingerprint: three of five are different, and one of five is known.
    assert found["uniqueness_bawl"].value == pytest.approx(3 / 5)
    assert found["novelty_bawl"].value == pytest.approx(4 / 5)
    left_out = genbench_metrics(crystals, settings=GenBench(bawl=False), **quick())
    assert "uniqueness_bawl" not in left_out
