import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import set_properties
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion import FIELDS, Sampler
from pyg_crysdiff.models import build_model, resolve_conditioner
from tests.helpers import small_config, toy_set


@pytest.fixture
def dataset():
    return toy_set(20)


@pytest.fixture
def statistics(dataset):
    return DataStatistics.from_dataset(dataset, ["energy"])


def model_of(statistics, **process):
    torch.manual_seed(0)
    return build_model(small_config(process=process), statistics).eval()


@pytest.mark.parametrize("units", ["angstrom", "scaled", "per_atom"])
def test_state_and_back_is_the_same_crystal(dataset, statistics, units):
    model = model_of(statistics, lattice={"units": units})
    batch = Batch.from_data_list(list(dataset))
    state = model.state(batch)
    for crystal, data in zip(model.crystals(state), dataset, strict=True):
        np.testing.assert_allclose(crystal.lattice, data.lattice[0].numpy(), rtol=1e-5)
        np.testing.assert_allclose(crystal.frac_coords, data.frac_coords.numpy())
        np.testing.assert_array_equal(crystal.atomic_numbers, data.atomic_numbers.numpy())
    if units == "scaled":
        assert float(state.lattice.square().mean().sqrt()) == pytest.approx(1, rel=1e-4)


def test_estimates_stay_within_the_cells_of_the_training_set(dataset):
    cubes = list(dataset)
    for data in cubes:  # of 4 A, one slab of 2 A
        data.lattice = 4 * torch.eye(3).expand_as(data.lattice)
    cubes[0].lattice = cubes[0].lattice @ torch.diag(torch.tensor([0.5, 1.0, 1.5]))
    statistics = DataStatistics.from_dataset(cubes, ["energy"])
    assert statistics.min_width == pytest.approx(2)
    widths = [2] + [4] * (len(cubes) - 1)
    shrunk = [w / d.num_nodes ** (1 / 3) for w, d in zip(widths, cubes, strict=True)]
    assert statistics.min_width_per_atom == pytest.approx(min(shrunk))
    bounds = model_of(statistics, lattice={"units": "angstrom"}).process.field("lattice")
    assert (bounds.max_length, bounds.min_width) == pytest.approx((7.5, 1.6))
    older = {k: v for k, v in statistics.to_dict().items() if "min_width" not in k}
    unknown = model_of(DataStatistics.from_dict(older), lattice={"units": "angstrom"})
    assert unknown.process.field("lattice").min_width == 0


def test_element_that_was_not_trained_on_is_named(dataset, statistics):
    data = dataset[0].clone()
    data.atomic_numbers[0] = 92
    with pytest.raises(ValueError, match="92"):
        model_of(statistics).state(Batch.from_data_list([data]))


def test_loss_depends_on_the_generator_alone(dataset, statistics):
    model = model_of(statistics)
    batch = Batch.from_data_list(list(dataset))
    a, b, c = (model.loss(batch, torch.Generator().manual_seed(s))["total"] for s in (0, 0, 1))
    assert a.equal(b)
    assert not a.equal(c)


def test_dropped_condition_hides_the_property(dataset, statistics):
    model = model_of(statistics)
    batch = Batch.from_data_list(list(dataset))
    other = batch.clone()
    other.properties = batch.properties + 3
    losses = [
        model.loss(b, torch.Generator().manual_seed(0), dropout)["total"]
        for dropout in (1.0, 0.0)
        for b in (batch, other)
    ]
    assert losses[0].equal(losses[1])
    assert not losses[2].equal(losses[3])


def test_batch_without_the_property_is_refused(dataset, statistics):
    batch = Batch.from_data_list(list(dataset))
    del batch.properties, batch.property_names
    with pytest.raises(KeyError, match="energy"):
        model_of(statistics).loss(batch, torch.Generator())


def test_guidance_mixes_conditional_and_unconditional(dataset, statistics):
    model = model_of(statistics)
    state = model.state(Batch.from_data_list(list(dataset)))
    t = torch.full_like(state.num_atoms, 10)
    condition = {"energy": torch.full((len(dataset),), 1.5)}
    free, plain, one, two, zero = (
        model.denoise(state.num_atoms, c, w)(state, t)
        for c, w in (
            (None, 1.0),
            (condition, 1.0),
            (condition, 1.0),
            (condition, 2.0),
            (condition, 0.0),
        )
    )
    for name in ("lattice", "coordinates", "species"):
        f, p = getattr(free, name), getattr(plain, name)
        assert getattr(one, name).equal(p)
        assert getattr(zero, name).equal(f)
        torch.testing.assert_close(getattr(two, name), 2 * p - f)
        assert not torch.allclose(f, p)


@torch.inference_mode()
@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5, 1.0]])
def test_a_context_serves_all_calls_at_one_time(statistics, monkeypatch, values):
    model = model_of(statistics)
    contexts, made = model.denoiser.contexts, []

    def counting():
        make = contexts()

        def one(t, condition):
            made.append((int(t[0]), len(t)))
            return make(t, condition)

        return one

    monkeypatch.setattr(model.denoiser, "contexts", counting)
    condition = {"energy": torch.tensor(values)}
    sampler = Sampler("ancestral", 2, corrector_steps=1)
    last = list(model.generate([2, 3], [0, 1], sampler, condition))[-1][1]
    # one for two calls; one row where the crystals share the condition
    rows = 1 if values[0] == values[1] else 2
    assert made == [(20, rows), (10, rows)]
    made.clear()
    call = model.denoise(last.num_atoms, condition)
    mixed = replace(last, time=None)  # crystals with times of their own
    t = torch.tensor([3, 7])
    for name in FIELDS:
        wanted = getattr(model.predict(mixed, t, condition), name)
        torch.testing.assert_close(getattr(call(mixed, t), name), wanted)
    assert set(made) == {(3, 2)}


def test_generated_crystals_do_not_depend_on_the_batch(statistics):
    model = model_of(statistics)

    def last(sizes, seeds):
        condition = {"energy": torch.zeros(len(sizes))}
        states = model.generate(sizes, seeds, Sampler.preset("paper"), condition)
        return model.crystals(list(states)[-1][1])

    together = last([3, 5, 4], [1, 2, 3])
    for i, (n, seed) in enumerate(((3, 1), (5, 2), (4, 3))):
        alone = last([n], [seed])[0]
        np.testing.assert_allclose(alone.lattice, together[i].lattice, rtol=1e-4)
        np.testing.assert_array_equal(alone.atomic_numbers, together[i].atomic_numbers)


def test_statistics_survive_json(statistics):
    raw = json.loads(json.dumps(statistics.to_dict()))
    assert DataStatistics.from_dict(raw) == statistics
    del raw["elements"]
    with pytest.raises(ValueError, match="damaged"):
        DataStatistics.from_dict(raw)


def test_sizes_follow_the_histograms(statistics):
    generator = torch.Generator().manual_seed(0)
    drawn = statistics.sample_num_atoms(5000, generator)
    for n, count in statistics.num_atoms.items():
        share = count / statistics.num_crystals
        assert drawn.count(n) / 5000 == pytest.approx(share, abs=0.03)


def test_sizes_given_the_target(generator):
    data = list(toy_set(60))
    for item in data:  # small crystals have low energy
        set_properties(item, {"energy": float(item.num_atoms)})
    statistics = DataStatistics.from_dataset(data, ["energy"])
    smallest = min(statistics.num_atoms)
    drawn = statistics.sample_num_atoms(100, generator, {"energy": float(smallest)})
    assert set(drawn) == {smallest}
    assert len(set(statistics.sample_num_atoms(100, generator))) > 1


def test_bad_property_names_the_crystal():
    data = list(toy_set(3))
    set_properties(data[1], {"energy": 1e39})  # beyond single precision
    with pytest.raises(ValueError, match=r"crystal 1.*infinite"):
        DataStatistics.from_dataset(data, ["energy"])
    with pytest.raises(ValueError, match="no property 'colour'"):
        DataStatistics.from_dataset(toy_set(2), ["colour"])


def test_statistics_are_those_of_the_known_values():
    data = list(toy_set(12))
    known = DataStatistics.from_dataset(data[:8], ["energy"]).properties["energy"]
    for item in data[8:]:
        set_properties(item, {"energy": float("nan")})
    assert DataStatistics.from_dataset(data, ["energy"]).properties["energy"] == known
    with pytest.raises(ValueError, match=r"no training crystal has a value.*energy"):
        DataStatistics.from_dataset(data[8:], ["energy"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "not trusted"),
        ("pyg_crysdiff.nn.conditioners.Nothing", "cannot find"),
        ("pyg_crysdiff.nn.transformer.CrystalTransformer", "not a subclass"),
    ],
)
def test_configuration_cannot_name_any_class(target, message):
    with pytest.raises(ValueError, match=message):
        resolve_conditioner(target)
