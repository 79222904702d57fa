"""Hard constraints: every crystal obeys them, and what cannot be met is refused at once."""

import numpy as np
import pytest
from pymatgen.core import Composition

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.sampling import Control, Sampler, Template, sample, symmetrised, write_symmetrised
from pyg_crysdiff.sampling.composition import (
    CompositionRule,
    draw_composition,
    find_composition,
    parse_formula,
)
from pyg_crysdiff.sampling.planner import Planner
from pyg_crysdiff.training import train
from tests.helpers import small_config, toy_sets

TITANATE = Crystal(
    np.eye(3) * 3.9,
    np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]]),
    np.array([8, 8, 8, 22, 38]),
)
ELEMENTS = (6, 8, 22, 38)  # of the toy set: C, O, Ti, Sr


def fitted(folder, **process):
    config = small_config(process, max_epochs=1)
    return train(config, folder, data=toy_sets(), progress=False).checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("joint"))


@pytest.fixture(scope="module")
def csp_checkpoint(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("csp"), species={"given": True})


def draw(checkpoint, control, count=8, **options):
    sampler = Sampler.of("paper", steps=6)
    options = {"sampler": sampler, "device": "cpu", "progress": False, "target": None, **options}
    return sample(checkpoint, count, control=control, **options)


def symbols(crystal):
    return set(crystal.to_structure().symbol_set)


def formula(crystal):
    return Composition(crystal.to_structure().composition).formula.replace(" ", "")


def test_formula(checkpoint, csp_checkpoint):
    for trained in (checkpoint, csp_checkpoint):
        crystals = draw(trained, Control(formulas=("SrTiO3", "TiO2")))
        assert [formula(c) for c in crystals] == ["Sr1Ti1O3", "Ti1O2"] * 4
        assert crystals[0].info["control"] == {"formulas": ["SrTiO3"]}
    larger = draw(checkpoint, Control(formulas=("Ti2O4",)), num_atoms=(5, 9))
    assert {formula(c) for c in larger} <= {"Ti2O4", "Ti3O6"}
    with pytest.raises(ValueError, match="multiple of the 3 atoms of TiO2"):
        draw(checkpoint, Control(formulas=("Ti2O4",)), num_atoms=5)


def test_elements(checkpoint):
    system = draw(checkpoint, Control(chemical_system="Ti-O"), num_atoms=(2, 6), count=12)
    assert all(symbols(c) == {"Ti", "O"} for c in system)
    allowed = draw(checkpoint, Control(allowed=("Ti", "C"), required=("C",)))
    assert all({"C"} <= symbols(c) <= {"Ti", "C"} for c in allowed)
    without = draw(checkpoint, Control(forbidden=("O", "Pb")))
    assert not any("O" in symbols(c) for c in without)
    # A chemical system of three needs three atoms: smaller sizes of the training set are left out.
    assert min(len(c) for c in draw(checkpoint, Control(chemical_system="Ti-O-Sr"), 20)) >= 3


def test_charge_neutrality(checkpoint):
    free = draw(checkpoint, Control(allowed=("O", "Sr")), 24, num_atoms=4)
    assert not all(smact_validity(c.atomic_numbers) for c in free)
    neutral = Control(allowed=("O", "Sr"), charge_neutral=True)
    assert all(smact_validity(c.atomic_numbers) for c in draw(checkpoint, neutral, 24, num_atoms=4))
    control = Control(charge_neutral=True, required=("O",))
    crystals = draw(checkpoint, control, 24, num_atoms=5)
    assert all(smact_validity(c.atomic_numbers) and "O" in symbols(c) for c in crystals)
    assert len({formula(c) for c in crystals}) > 1


def test_template(checkpoint):
    kept = draw(checkpoint, Control(template=Template(TITANATE, (3, 4))), 3)
    for crystal in kept:
        assert len(crystal) == 5
        np.testing.assert_allclose(crystal.lattice, TITANATE.lattice, atol=1e-5)
        np.testing.assert_allclose(crystal.frac_coords[:2], TITANATE.frac_coords[3:], atol=1e-6)
        assert crystal.atomic_numbers[:2].tolist() == [22, 38]
    species = Control(template=Template(TITANATE, keep=("species",)))
    for crystal in draw(checkpoint, species, 3, num_atoms=6):
        assert crystal.atomic_numbers[:5].tolist() == TITANATE.atomic_numbers.tolist()
        assert np.abs(crystal.lattice - TITANATE.lattice).max() > 1e-3
    both = Control(template=Template(TITANATE, (4,), ("species", "coordinates")),
                   formulas=("SrTiO3",))  # fmt: skip
    assert {formula(c) for c in draw(checkpoint, both, 3)} == {"Sr1Ti1O3"}
    lattice = Control(template=Template(TITANATE, (), ("lattice",)))
    (cell,) = draw(checkpoint, lattice, 1, num_atoms=2)
    np.testing.assert_allclose(cell.lattice, TITANATE.lattice, atol=1e-5)


def test_a_crystal_does_not_depend_on_the_others(checkpoint):
    control = Control(charge_neutral=True, template=Template(TITANATE, (4,), ("coordinates",)))
    few = draw(checkpoint, control, 2, num_atoms=(3, 6))
    many = draw(checkpoint, control, 6, num_atoms=(3, 6), batch_size=3)[:2]
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
        np.testing.assert_allclose(a.frac_coords, b.frac_coords, atol=2e-4)


def test_weights_of_sizes(checkpoint):
    crystals = draw(checkpoint, None, 30, num_atoms={2: 1.0, 5: 3.0, 6: 0.0})
    sizes = [len(c) for c in crystals]
    assert set(sizes) == {2, 5}
    assert sizes.count(5) > sizes.count(2)
    with pytest.raises(ValueError, match="weights"):
        draw(checkpoint, None, 1, num_atoms={2: -1.0})


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"formulas": ("TiO2",), "forbidden": ("O",)}, r"TiO2 has \['O'\]"),
        ({"formulas": ("FeO",)}, "Fe does not occur in the training set"),
        ({"formulas": ("Ti0.5O",)}, "whole numbers"),
        ({"formulas": ("what",)}, "cannot read the formula"),
        ({"chemical_system": "Ti-Xx"}, "'Xx' is no chemical element"),
        ({"chemical_system": "Ti-O", "forbidden": ("O",)}, "must occur and must not occur"),
        ({"allowed": ("O",), "forbidden": ("O",)}, "no element is left"),
        ({"formulas": ("SrO3",), "charge_neutral": True}, "meets the constraints"),
        ({"formulas": ("SrTiO3",), "num_elements": (1, 2)}, "meets the constraints"),
    ],
)
def test_what_cannot_be_met_is_refused_before_sampling(checkpoint, control, message, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.sampling.running.generate", lambda *_: pytest.fail("sampled"))
    with pytest.raises(ValueError, match=message):
        draw(checkpoint, Control(**control))


def test_other_refusals(checkpoint, csp_checkpoint):
    with pytest.raises(ValueError, match="give a formula"):
        draw(csp_checkpoint, None)
    species = Control(template=Template(TITANATE, keep=("species",)))
    assert {formula(c) for c in draw(csp_checkpoint, species, 2)} == {"Sr1Ti1O3"}
    with pytest.raises(ValueError, match="no number of atoms among"):
        draw(csp_checkpoint, species, num_atoms=6)
    with pytest.raises(ValueError, match="no number of atoms among"):
        draw(checkpoint, Control(chemical_system="Ti-O-Sr"), num_atoms=2)
    with pytest.raises(ValueError, match="among the template's, 0 to 4"):
        Template(TITANATE, (5,))
    with pytest.raises(ValueError, match="keeps one or more of"):
        Template(TITANATE, keep=("colour",))
    for bounds in ((0, 2), (3, 2)):
        with pytest.raises(ValueError, match="num_elements"):
            Control(num_elements=bounds)
    with pytest.raises(ValueError, match="named twice"):
        Template(TITANATE, (1, 1))
    foreign = Crystal(TITANATE.lattice, TITANATE.frac_coords, np.full(5, 26))
    with pytest.raises(ValueError, match="not trained on"):
        draw(checkpoint, Control(template=Template(foreign)))


NEUTRAL = CompositionRule(charge_neutral=True)


def test_neutral_compositions():
    found = find_composition(np.ones((5, 4), bool), ELEMENTS, NEUTRAL)
    assert smact_validity(np.array(ELEMENTS)[found])
    fixed = np.eye(4, dtype=bool)[[1, 1, 1, 3]]  # SrO3
    assert find_composition(fixed, ELEMENTS, NEUTRAL) is None
    rng = np.random.default_rng(0)
    p = np.full((3, 4), 1e-9)
    p[:, 1] = 1.0  # O3 is an element, hence valid
    assert draw_composition(p, ELEMENTS, NEUTRAL, [1, 1, 2], rng).tolist() == [1, 1, 1]
    sure = np.zeros((4, 4))
    sure[[0, 1, 2], 1], sure[3] = 1.0, [0, 0, 0.01, 0.99]  # SrO3 is not; TiO3 neither
    drawn = draw_composition(sure, ELEMENTS, NEUTRAL, [1, 1, 1, 2], rng)
    assert sorted(drawn.tolist()) == [1, 1, 1, 2]


@pytest.mark.parametrize("size", [4, 12])  # all compositions are tried, or random ones
@pytest.mark.parametrize("bounds", [(1, 1), (2, 2), (2, 3), (4, 4)])
def test_number_of_elements(size, bounds, rng):
    elements = range(1, 21)
    rule = CompositionRule(num_elements=bounds)
    allowed = np.ones((size, 20), bool)
    allowed[0] = np.arange(20) == 7
    found = find_composition(allowed, elements, rule)
    assert found[0] == 7
    assert bounds[0] <= len(set(found)) <= bounds[1]
    p = rng.random((size, 20)) * allowed
    for _ in range(20):
        drawn = draw_composition(p, elements, rule, found, rng)
        assert drawn[0] == 7
        assert bounds[0] <= len(set(drawn.tolist())) <= bounds[1]


def test_few_elements_are_drawn_by_the_probabilities(rng):
    p = np.array([[0.45, 0.15, 0.4], [0.0, 0.0, 1.0], [0.3, 0.6, 0.1]])
    rule, count = CompositionRule(num_elements=(2, 2)), 4000
    drawn = [tuple(draw_composition(p, (1, 2, 3), rule, (0, 2, 0), rng)) for _ in range(count)]
    # The sure atom (2) comes first, then the last one. If that is 0 or 1, the first atom has only
    # it and 2 left; if it is 2, the first atom makes the second element, or the draw is refused.
    share = {k: drawn.count(k) / count for k in set(drawn)}
    weights = {
        (0, 2, 0): 0.3 * 0.45 / 0.85, (2, 2, 0): 0.3 * 0.4 / 0.85,
        (1, 2, 1): 0.6 * 0.15 / 0.55, (2, 2, 1): 0.6 * 0.4 / 0.55,
        (0, 2, 2): 0.1 * 0.45, (1, 2, 2): 0.1 * 0.15,
    }  # fmt: skip
    total = sum(weights.values())
    assert share == {k: pytest.approx(w / total, abs=0.03) for k, w in weights.items()}


def test_number_of_elements_of_samples(checkpoint):
    crystals = draw(checkpoint, Control(num_elements=(2, 2), charge_neutral=True), 12, num_atoms=6)
    assert all(len(set(symbols(c))) == 2 for c in crystals)
    assert all(smact_validity(c.atomic_numbers) for c in crystals)


def test_planner_lays_out_template_and_formula():
    control = Control(formulas=("SrTiO3",), template=Template(TITANATE, (3,)))
    planner = Planner(control, ELEMENTS)
    assert planner.sizes({2: 1.0}, given=False, index=0) == {5: 1.0}
    plan = planner.plan(5, 0)
    assert plan.allowed.sum(1).tolist() == [1] * 5
    assert sorted(plan.allowed.argmax(1).tolist()) == [1, 1, 1, 2, 3]
    assert plan.allowed[0].argmax() == 2
    np.testing.assert_allclose(plan.frac_coords[0], 0.5)
    assert np.isnan(plan.frac_coords[1:]).all()


def test_symmetrised_copies(tmp_path, rng):
    noisy = Crystal(
        TITANATE.lattice + rng.normal(0, 0.005, (3, 3)),
        TITANATE.frac_coords + rng.normal(0, 0.003, (5, 3)),
        TITANATE.atomic_numbers,
        {"index": 3},
    )
    copy = symmetrised(noisy, 0.1)
    assert copy.info == {
        "index": 3, "space_group": "Pm-3m", "space_group_number": 221, "symprec": 0.1
    }  # fmt: skip
    np.testing.assert_allclose(copy.lattice, np.eye(3) * copy.lattice[0, 0], atol=1e-6)
    double = noisy.to_structure().make_supercell([2, 1, 1])
    small = symmetrised(Crystal.from_structure(double), 0.1, primitive=True)
    assert (len(small), small.info["space_group_number"]) == (5, 221)
    assert small.lattice[0, 0] == pytest.approx(copy.lattice[0, 0], rel=1e-6)
    broken = Crystal(np.full((3, 3), np.nan), np.zeros((1, 3)), [6])
    found = write_symmetrised([noisy, broken], tmp_path, 0.1)
    assert found[1].info["space_group_number"] == 1
    assert "_symmetry_Int_Tables_number   221" in (tmp_path / "symmetrised/00000.cif").read_text()
    with pytest.raises(ValueError, match="symprec"):
        symmetrised(noisy, 0.0)


@pytest.mark.parametrize(
    ("formula", "found"),
    [("TiO\u2082", {"Ti": 1, "O": 2}), (" (TiO2)3 ", {"Ti": 3, "O": 6}), ("CO", {"C": 1, "O": 1})],
)
def test_formulas(formula, found):
    assert parse_formula(formula) == found


@pytest.mark.parametrize(
    "formula",
    ["{'Ti':1,'O':2}", "Li,Fe,O", "TiO0", "D2O", "X2O", "Qe", "Ti0.5O", "C1e9", "C1e400", "C-1",
     "", "nan", {"Ti": 1}],
)  # fmt: skip
def test_what_is_no_formula_is_named(formula):
    with pytest.raises(ValueError, match="formula") as told:
        parse_formula(formula)
    assert repr(formula) in str(told.value)
    assert "\n" not in str(told.value)


def test_one_element_or_formula_may_come_without_a_tuple(checkpoint):
    assert Control(formulas="SrTiO3") == Control(formulas=("SrTiO3",))
    crystals = draw(checkpoint, Control(allowed="Ti"), 3)
    assert all(symbols(c) == {"Ti"} for c in crystals)
    commas = draw(checkpoint, Control(chemical_system="Ti, O"), 3, num_atoms=3)
    assert all(symbols(c) == {"Ti", "O"} for c in commas)


def test_kept_coordinates_stay_in_free_cells_of_either_hand(checkpoint):
    corner = Crystal(TITANATE.lattice, [[0.1, 0.2, 0.3]], [22])
    template = Template(corner, keep=("coordinates", "species"))
    crystals = draw(checkpoint, Control(template=template), 12, num_atoms=3)
    for crystal in crystals:
        assert np.linalg.det(crystal.lattice) > 0
        np.testing.assert_allclose(crystal.frac_coords[0], [0.1, 0.2, 0.3], atol=1e-6)
    left = Crystal(TITANATE.lattice * [1, 1, -1], corner.frac_coords, [22])
    for crystal in draw(checkpoint, Control(template=Template(left)), 4, num_atoms=3):
        np.testing.assert_allclose(crystal.lattice, TITANATE.lattice, atol=1e-5)
        np.testing.assert_allclose(crystal.frac_coords[0], [0.9, 0.8, 0.7], atol=1e-6)
