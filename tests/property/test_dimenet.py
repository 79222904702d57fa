import itertools

import numpy as np
import pytest
import torch

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.property.graphs import neighbours, property_graph
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from pyg_crysdiff.property.training import train_evaluator
from tests.conftest import make_crystal

SMALL = EvaluatorConfig(
    hidden_channels=16, num_blocks=1, int_emb_size=8, basis_emb_size=4, out_emb_channels=16,
    num_spherical=3, num_radial=4, cutoff=4.0, max_neighbours=8,
)  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = PeriodicDimeNet(SMALL)
    for output in network.output_blocks:  # zero at the start, which would hide everything
        torch.nn.init.normal_(output.lin.weight)
    return PropertyModel(network, SMALL, -3.0, 2.0, {"property": "e"})


def test_neighbours_and_triplets_equal_a_direct_search(rng):
    crystal, cutoff = make_crystal(rng, 3), 3.5
    i, j, vectors = neighbours(crystal, cutoff, None)
    positions = crystal.frac_coords @ crystal.lattice
    slow = []
    for a, b in itertools.product(range(3), repeat=2):
        for shift in itertools.product(range(-3, 4), repeat=3):
            v = positions[b] + np.array(shift) @ crystal.lattice - positions[a]
            if 1e-6 < np.linalg.norm(v) <= cutoff:
                slow.append((a, b, v))
    found = sorted((a, b, *np.round(v, 6)) for a, b, v in zip(i, j, vectors, strict=True))
    assert np.allclose(found, sorted((a, b, *np.round(v, 6)) for a, b, v in slow), atol=1e-5)
    triplets = sorted(
        (b1, a1, np.round(v1 @ v2 / np.linalg.norm(v1) / np.linalg.norm(v2), 4))
        for (a1, b1, v1), (a2, _, v2) in itertools.product(slow, repeat=2)
        if b1 == a2 and np.abs(v1 + v2).max() > 1e-6
    )
    graph = property_graph(crystal, cutoff, None)
    source, target = graph.edge_index
    ours = sorted(
        (int(source[e]), int(target[e]), round(float(angle.cos()), 4))
        for e, angle in zip(graph.edge_ji, graph.angle, strict=True)
    )
    assert np.allclose(ours, triplets, atol=2e-3)


def test_the_neighbour_limit_keeps_ties_together():
    cube = Crystal(3 * np.eye(3), [[0, 0, 0]], [29])
    counts = [len(neighbours(cube, 5.5, k)[0]) for k in (1, 6, 7, 18, 19)]
    assert counts == [6, 6, 18, 18, 26]


def test_prediction_is_invariant(model, rng):
    crystal = make_crystal(rng, 4)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(4)
    structure = crystal.to_structure()
    structure.make_supercell([2, 1, 1])
    others = [
        Crystal(crystal.lattice @ rotation, crystal.frac_coords, crystal.atomic_numbers),
        Crystal(crystal.lattice, crystal.frac_coords + 0.37, crystal.atomic_numbers),
        Crystal(crystal.lattice, crystal.frac_coords[order], crystal.atomic_numbers[order]),
        Crystal.from_structure(structure),
    ]
    values = model.predict([crystal, *others])
    np.testing.assert_allclose(values[1:], values[0], rtol=2e-5)
    changed = Crystal(1.02 * crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
    assert abs(model.predict([changed])[0] - values[0]) > 1e-4


def test_batch_equals_one_by_one_and_bad_entries_are_nan(model, rng):
    crystals = [make_crystal(rng, n) for n in (2, 5, 1)]
    entries = [*crystals, BrokenEntry(3, "x"), Crystal(np.eye(3), [[0, 0, 0]], [118])]
    values = model.predict(entries)
    single = [model.predict([c])[0] for c in crystals]
    np.testing.assert_allclose(values[:3], single, rtol=2e-5)
    assert np.isnan(values[3:]).all()
    assert model.predict([]).shape == (0,)


def test_an_atom_without_neighbours_is_no_problem(model):
    lonely = Crystal(20 * np.eye(3), [[0, 0, 0]], [8])
    assert np.isfinite(model.predict([lonely])).all()


def test_save_and_load(model, rng, tmp_path):
    crystals = [make_crystal(rng, 3)]
    model.save(tmp_path / "m.safetensors")
    again = PropertyModel.load(tmp_path / "m.safetensors")
    assert again.predict(crystals)[0] == model.predict(crystals)[0]
    assert again.card == model.card
    (tmp_path / "bad.safetensors").write_bytes(b"123")
    with pytest.raises(ValueError, match="damaged"):
        PropertyModel.load(tmp_path / "bad.safetensors")
    with pytest.raises(FileNotFoundError):
        PropertyModel.load(tmp_path / "none")


def crystals_with_energy(rng, count):
    out = []
    for _ in range(count):
        c = make_crystal(rng, 2, (6, 8, 38))
        c.info["e"] = float(np.mean(c.atomic_numbers))
        out.append(c)
    return out


def test_training_learns_and_is_not_repeated(rng, tmp_path):
    crystals = crystals_with_energy(rng, 80)
    options = {"preset": SMALL, "max_epochs": 25, "lr": 5e-3, "progress": False, "device": "cpu"}
    model = train_evaluator(crystals, "e", tmp_path, **options)
    spread = np.std([c.info["e"] for c in crystals])
    assert model.card["held_out_mae"] < 0.5 * spread
    assert model.card["num_held_out"] == 8
    again = train_evaluator(crystals, "e", tmp_path, **options)
    assert again.card == model.card
    with pytest.raises(ValueError, match="different: seed: 0 before, 1 now"):
        train_evaluator(crystals, "e", tmp_path, seed=1, **options)


def test_bad_training_data(rng, tmp_path):
    crystals = crystals_with_energy(rng, 30)
    with pytest.raises(ValueError, match="at least 20"):
        train_evaluator(crystals[:5], "e", tmp_path)
    crystals[4].info.update(e=float("inf"), material_id="m4")
    with pytest.raises(ValueError, match=r"m4.*'e' is infinite"):
        train_evaluator(crystals, "e", tmp_path)
    for crystal in crystals[4:16]:
        crystal.info["e"] = float("nan")
    with pytest.raises(ValueError, match="18 with a value of 'e'"):
        train_evaluator(crystals, "e", tmp_path)


def test_crystals_without_a_value_are_left_out_and_counted(rng, tmp_path, caplog):
    crystals = crystals_with_energy(rng, 26)
    options = {"preset": SMALL, "max_epochs": 1, "progress": False, "device": "cpu"}
    gaps = [*crystals[:3], *crystals[3:]]
    del gaps[0].info["e"]
    gaps[1].info["e"] = float("nan")
    some = train_evaluator(gaps, "e", tmp_path / "a", **options)
    assert "2 of 26 crystals without a value of e" in caplog.text
    rest = train_evaluator(gaps[2:], "e", tmp_path / "b", **options)
    assert some.card["data"] == rest.card["data"]
    assert some.card["held_out_mae"] == rest.card["held_out_mae"]
