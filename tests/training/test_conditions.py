"""What a training is conditioned on: names, gaps, several properties, and what is said of it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import property_of, set_properties
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.nn.conditioning import ConditionEmbedding
from pyg_crysdiff.training import train
from pyg_crysdiff.training.data import conditions, load_data
from pyg_crysdiff.training.samplers import focused_rows, with_focus
from tests.conftest import make_crystal
from tests.helpers import energy, same_weights, small_config, toy_set


def table(path, count=16, **columns):
    rng = np.random.default_rng(0)
    crystals = [make_crystal(rng, int(rng.integers(2, 5))) for _ in range(count)]
    frame = pd.DataFrame({"cif": [crystal_to_cif(c) for c in crystals], **columns})
    frame.to_csv(path, index=False)
    return str(path)


def trained(folder, path, properties="auto", **options):
    data = {"name": path, "num_workers": 0, "root": str(folder.parent / "c"), **options}
    config = small_config(max_epochs=2, data=data, properties=properties)
    return load_checkpoint(train(config, folder, progress=False).checkpoint)


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level("INFO")


@pytest.mark.parametrize(
    "name", ["refractive_index", "batch_index", "lattice", "a.b (c)", "forward"]
)
def test_a_property_of_any_name_trains_to_the_same_weights(tmp_path, name):
    values = np.random.default_rng(1).random(16)
    found = [
        trained(tmp_path / str(k), table(tmp_path / f"{k}.csv", **{n: values}), properties=[n])
        for k, n in enumerate(("p", name))
    ]
    assert same_weights(found[0].model, found[1].model)
    assert found[1].card["properties"] == [name]
    assert found[1].model.properties == (name,)


def test_weights_follow_the_values(tmp_path):
    values = np.random.default_rng(1).random(16)
    one, other = (
        trained(tmp_path / str(k), table(tmp_path / f"{k}.csv", p=v))
        for k, v in enumerate((values, values[::-1]))
    )
    assert not same_weights(one.model, other.model)


def test_two_sparse_properties_are_both_conditions(tmp_path, caplog):
    values = np.random.default_rng(1).random(16)
    even = np.arange(16) % 2 == 0
    path = table(
        tmp_path / "s.csv", gap=np.where(even, values, np.nan), n=np.where(even, np.nan, values),
        other=values,
    )  # fmt: skip
    found = trained(tmp_path / "run", path, ["gap", "n"])
    assert found.card["properties"] == ["gap", "n"]
    for weights in found.model.state_dict().values():
        assert bool(weights.isfinite().all())
    statistics = found.model.statistics.properties
    assert statistics["gap"].maximum <= values[even].max() + 1e-6
    assert "conditioned on gap (" in caplog.text
    assert "without a value: their condition is hidden), n (" in caplog.text
    assert "other (not asked for)" in caplog.text


@pytest.mark.parametrize(
    ("named", "properties", "wanted"),
    [
        (None, "auto", ["a"]),
        (None, ["b", "a"], ["b", "a"]),
        (None, "b", ["b"]),
        (None, [], []),
        (["b", "a"], "auto", ["b", "a"]),
        ("b", "auto", ["b"]),
        ("b", ["b"], ["b"]),
    ],
)
def test_which_properties_are_conditions(tmp_path, named, properties, wanted):
    rng = np.random.default_rng(2)
    path = table(tmp_path / "t.csv", index=range(16), a=rng.random(16), b=rng.random(16))
    options = {"name": path, "num_workers": 0, "root": str(tmp_path / "c"), "properties": named}
    train_set, val_set = load_data(options)
    assert conditions(train_set, val_set, properties) == wanted
    assert (len(train_set), len(val_set)) == (13, 1)
    with pytest.raises(ValueError, match=r"no properties \['a,b'\].*properties=\[one,two\]"):
        conditions(*load_data({**options, "properties": None}), "a,b")


def test_training_goes_on_without_validation(tmp_path, caplog):
    path = table(tmp_path / "five.csv", 5, e=[0.1, 0.5, 0.2, 0.4, 0.3])
    assert trained(tmp_path / "a", path).card["num_train"] == 4
    assert "no validation" in caplog.text
    assert trained(tmp_path / "b", path, fractions=[1, 0, 0]).card["num_train"] == 5
    folder = tmp_path / "parts"
    folder.mkdir()
    frame = pd.read_csv(path)
    for name, rows in (("train", frame[:3]), ("test", frame[3:])):
        rows.to_csv(folder / f"{name}.csv", index=False)
    assert trained(tmp_path / "c2", str(folder)).card["num_train"] == 3


def test_gaps_hide_the_condition_of_their_crystal_alone():
    data = list(toy_set(6))
    set_properties(data[2], {"energy": math.nan})
    items, _ = with_focus(data, torch.tensor([0, 2]))
    batch = Batch.from_data_list(items)
    embedding = ConditionEmbedding(8, {"energy": (1.0, 2.0)})
    t = torch.full((8,), 3)
    for dropout, hidden in ((0.0, {2, 7}), (1.0, {0, 1, 2, 3, 4, 5, 7})):
        found = embedding.read(batch, 8, dropout, torch.Generator().manual_seed(0))
        assert set(found["energy"].isnan().nonzero().view(-1).tolist()) == hidden
        out, free = embedding(t, found), embedding(t)
        for k in range(8):
            assert out[k].equal(free[k]) == (k in hidden)


def test_gaps_change_no_random_number():
    data, gaps = list(toy_set(6)), list(toy_set(6))
    set_properties(gaps[1], {"energy": math.nan})
    embedding = ConditionEmbedding(8, {"energy": (1.0, 2.0)})
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    found = [
        embedding.read(Batch.from_data_list(list(items)), 6, 0.5, generator)["energy"]
        for items, generator in zip((data, gaps), generators, strict=True)
    ]
    rest = [0, 2, 3, 4, 5]
    assert found[0][rest].isnan().equal(found[1][rest].isnan())
    assert torch.rand(1, generator=generators[0]).equal(torch.rand(1, generator=generators[1]))


@pytest.mark.parametrize("end", ["lowest", "highest"])
def test_focus_is_on_known_values(end):
    data = list(toy_set(20))
    for k in (0, 5, 11, 12):
        set_properties(data[k], {"energy": math.nan})
    rows = focused_rows(data, ["energy"], {"end": end, "part": 0.25, "share": 0.5}).tolist()
    known = sorted((energy(d) for d in data if not math.isnan(energy(d))), reverse=end == "highest")
    assert [energy(data[k]) for k in rows] == known[:4]


def test_representations_take_their_properties_along():
    from pyg_crysdiff.data.statistics import DataStatistics
    from pyg_crysdiff.models.build import build_model
    from pyg_crysdiff.training import compose_config

    data = list(toy_set(8))
    for k, item in enumerate(data):
        set_properties(item, {"lattice": math.nan if k == 3 else float(k), "index": 1.0})
    config = compose_config(
        ["family=structrepdiff", "conditioner=cdi", "unet.dim=16", "process.num_steps=20"]
    )
    model = build_model(config, DataStatistics.from_dataset(data, ["lattice"]))
    out, _ = model.prepare(data, data[:2], progress=False)
    values = property_of(Batch.from_data_list(out), "lattice")
    assert values.nan_to_num(-1).tolist() == [0, 1, 2, -1, 4, 5, 6, 7]
    loss = model.loss(Batch.from_data_list(out), torch.Generator().manual_seed(0))["total"]
    assert bool(loss.isfinite())
