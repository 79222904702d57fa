"""Training that starts from another model, or looks more at one end of a property."""

import json
from collections import Counter

import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import Crystal, CrystalDataset, property_of
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.nn.conditioning import ConditionEmbedding
from pyg_crysdiff.training import train
from pyg_crysdiff.training.module import DiffusionModule
from pyg_crysdiff.training.samplers import EpochOrder, focused_rows, with_focus
from tests.helpers import energy, small_config, toy_set, toy_sets

FOCUS = {"end": "lowest", "part": 0.25, "share": 0.5}


SETS = toy_sets()


def made(crystals, **properties):
    """A data set of crystals as they are."""
    return CrystalDataset.from_crystals(crystals, properties, name="toy", niggli=False)


def energies(data):
    return [crystal.info["energy"] for crystal in data.crystals()]


@pytest.fixture
def first(tmp_path):
    folder = tmp_path / "first"
    return train(small_config(max_epochs=1), folder, data=SETS, progress=False).checkpoint


def trained(config, folder, data=SETS):
    return load_checkpoint(train(config, folder, data=data, progress=False).checkpoint)


def frozen(first, **changes):
    """A run that starts from the first one and changes nothing of it."""
    config = small_config(max_epochs=1, init=str(first), **changes)
    config["optimizer"]["lr"] = 1e-60  # zero in single precision
    return config


def test_run_starts_from_the_weights_of_another(tmp_path, first):
    old = load_checkpoint(first)
    new = trained(frozen(first), tmp_path / "second")
    ours, theirs = new.model.state_dict(), old.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-7, msg=name)
    assert new.card["init"]["digest"] == old.digest
    assert new.card["init"]["dataset"] == "toy"


def test_elements_and_units_stay_sizes_and_properties_are_new(tmp_path, first):
    given = toy_set(24, seed=3)
    titanium = [Crystal(2 * c.lattice, c.frac_coords, [22] * len(c)) for c in given.crystals()]
    few = made(titanium, energy=[value + 5.0 for value in energies(given)])
    old = load_checkpoint(first).model
    new = trained(frozen(first), tmp_path / "second", (few, SETS[1]))
    assert new.model.statistics.elements == old.statistics.elements
    assert new.model.lattice_scale == old.lattice_scale
    assert new.model.statistics.max_length == pytest.approx(
        DataStatistics.from_dataset(few).max_length
    )
    found = new.model.statistics.properties["energy"].minimum
    assert found == pytest.approx(min(energies(few)))
    assert len(new.model.crystals(new.model.state(few[0]))) == 1


def test_other_property_begins_with_a_conditioner_of_its_own(tmp_path, first):
    train_set, val_set = (
        made(part.crystals(), gap=[2 * value for value in energies(part)]) for part in SETS
    )
    config = frozen(first, properties=["gap"])
    new = trained(config, tmp_path / "second", (train_set, val_set)).model
    old = load_checkpoint(first).model.state_dict()
    conditional = {k for k in old if "condition" in k}
    assert conditional
    for name, value in new.state_dict().items():
        same = torch.allclose(value, old[name], rtol=1e-6, atol=1e-7)
        assert same != (name in conditional and value.numel() > 1), name


def test_what_does_not_fit_is_refused_by_name(tmp_path, first):
    config = frozen(first)
    config["denoiser"]["dim"] = 32
    with pytest.raises(ValueError, match=r"does not fit init=.*'dim': 16"):
        trained(config, tmp_path / "wide")
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        trained(small_config(init="nowhere"), tmp_path / "nowhere")


def test_element_that_is_new_is_added_and_begins_anew(tmp_path, first):
    old = load_checkpoint(first).model
    known = old.statistics.elements
    scandium = [Crystal(c.lattice, c.frac_coords, [21] * len(c)) for c in SETS[0].crystals()]
    assert 21 not in known
    assert min(known) < 21 < max(known)  # its place lies between the others
    new = trained(frozen(first), tmp_path / "new", (made(scandium, energy=energies(SETS[0])), None))
    assert new.model.statistics.elements == tuple(sorted((*known, 21)))
    place = new.model.statistics.elements.index(21)
    grown = 0
    for name, value in new.model.state_dict().items():
        theirs = old.state_dict()[name]
        kept = value
        for axis, size in enumerate(value.shape):
            if size != theirs.shape[axis]:
                others = [i for i in range(size) if i != place]
                kept = kept.index_select(axis, torch.tensor(others))
                grown += 1
        torch.testing.assert_close(kept, theirs, rtol=1e-6, atol=1e-7, msg=name)
    assert grown >= 3  # embedding, weight and bias of the species head
    assert new.model.crystals(new.model.state(made(scandium, energy=energies(SETS[0]))[0]))


def test_statistics_take_new_elements_only_where_asked(first):
    old = load_checkpoint(first).model.statistics
    gold = made([Crystal(4 * torch.eye(3).numpy(), [[0, 0, 0]], [79])], energy=[1.0])
    new = DataStatistics.from_dataset(gold)
    with pytest.raises(ValueError, match=r"does not know the elements \[79\]"):
        new.in_units_of(old)
    assert new.in_units_of(old, new_elements=True).elements == (*old.elements, 79)


def test_focus_draws_its_share_and_keeps_the_length():
    focus = torch.tensor([3, 7])
    order = EpochOrder(100, 0, lambda: 5, focus=focus, share=0.4)
    drawn = Counter(order)
    assert sum(drawn.values()) == len(order) == 100
    assert drawn[3] + drawn[7] >= 40
    rest = {k: v for k, v in drawn.items() if k not in (3, 7)}
    assert set(rest.values()) == {1}
    assert len(rest) >= 58
    assert list(order) == list(EpochOrder(100, 0, lambda: 5, focus=focus, share=0.4))
    assert list(order) != list(EpochOrder(100, 0, lambda: 6, focus=focus, share=0.4))
    places = list(order)
    assert any(k in (3, 7) for k in places[50:])  # not all in front
    parts = [EpochOrder(100, 0, lambda: 5, r, 2, focus, 0.4) for r in (0, 1)]
    assert Counter([*parts[0], *parts[1]]) == drawn


def test_focused_draws_never_hide_their_condition():
    data = toy_set(10)
    items, places = with_focus(data, torch.tensor([2, 5]))
    assert places.tolist() == [10, 11]
    assert [energy(items[k]) for k in places] == [energy(data[k]) for k in (2, 5)]
    assert "always_given" not in data[2]
    batch = Batch.from_data_list(items)
    read = ConditionEmbedding(8, {"energy": (0.0, 1.0)}).read
    values = read(batch, 12, 1.0, torch.Generator().manual_seed(0))["energy"]
    assert values.isnan().tolist() == [True] * 10 + [False] * 2
    values = read(batch, 12, 0.5, torch.Generator().manual_seed(0))["energy"]
    assert 0 < int(values.isnan().sum()) < 10


def test_focused_rows_are_the_asked_end():
    data = toy_set(40)
    values = torch.tensor([energy(x) for x in data])
    for end, limit in (("lowest", 0.25), ("highest", 0.75)):
        rows = focused_rows(data, ["energy"], {**FOCUS, "end": end})
        assert len(rows) == 10
        beyond = values[rows] - values.quantile(limit)
        assert bool((beyond <= 0).all() if end == "lowest" else (beyond >= 0).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": "deepest"}, "lowest or highest"),
        ({"part": 0.0}, "between 0 and 1"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"property": "gap"}, r"one of \['energy'\]"),
        ({"weight": 2}, "focus needs"),
    ],
)
def test_bad_focus_says_what_it_may_be(change, message):
    with pytest.raises(ValueError, match=message):
        focused_rows(toy_set(8), ["energy"], {**FOCUS, **change})


def test_a_run_with_a_bad_focus_does_not_start(tmp_path):
    config = small_config(focus={"end": "lowest", "part": 0.1})
    with pytest.raises(ValueError, match="focus needs"):
        train(config, tmp_path, data=SETS, progress=False)


def test_training_sees_the_focused_crystals_more_often(tmp_path, monkeypatch):
    seen: list[float] = []
    original = DiffusionModule.training_step

    def training_step(self, batch, batch_idx):
        seen.extend(property_of(batch, "energy").tolist())
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DiffusionModule, "training_step", training_step)
    config = small_config(max_epochs=4, focus=FOCUS)
    train(config, tmp_path / "focused", data=SETS, progress=False)
    limit = float(torch.tensor([energy(x) for x in SETS[0]]).sort().values[5])
    share = sum(x <= limit + 1e-6 for x in seen) / len(seen)
    assert len(seen) == 4 * 24
    assert 0.5 <= share < 0.8
    assert json.loads((tmp_path / "focused" / "config.json").read_text())["focus"] == FOCUS
