import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyg_crysdiff.models import export_checkpoint, load_checkpoint, pretrained, pretrained_names
from pyg_crysdiff.property import cdvae
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from pyg_crysdiff.sampling import Sampler, sample
from pyg_crysdiff.training import train
from tests.conftest import make_crystal
from tests.helpers import same_weights, small_config, toy_sets


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return train(small_config(max_epochs=1), folder, data=toy_sets(), progress=False).checkpoint


@pytest.mark.parametrize("half", [False, True])
def test_an_exported_checkpoint_is_the_model(checkpoint, tmp_path, half):
    model = load_checkpoint(checkpoint)
    path = tmp_path / "mine.safetensors"
    export_checkpoint(model, path, facts={"licence": "CC-BY 4.0"}, half=half)
    read = load_checkpoint(path)
    assert same_weights(model.model, read.model) is not half
    for a, b in zip(model.model.parameters(), read.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-3)
    assert read.model.statistics == model.model.statistics
    assert read.card == {**model.card, "licence": "CC-BY 4.0"}
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["config"]["data"]["source"] is None  # a path of the machine that trained
    first, second = (
        sample(m, 2, sampler=Sampler(steps=3), device="cpu", precision="32-true", progress=False)
        for m in (model, read)
    )
    assert [len(c) for c in first] == [len(c) for c in second]
    if not half:
        assert (first[1].frac_coords == second[1].frac_coords).all()


def test_names_of_shipped_checkpoints(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    model = load_checkpoint(checkpoint)
    model.config["init"] = "/home/me/first.ckpt"
    export_checkpoint(model, tmp_path / "toy-cds.safetensors")
    assert "/home/me" not in (tmp_path / "toy-cds.json").read_text()
    assert pretrained_names() == ["toy-cds"]
    assert load_checkpoint("toy-cds").path == tmp_path / "toy-cds.safetensors"
    with pytest.raises(FileNotFoundError, match="toy-cds"):
        load_checkpoint("toy-cdi")


def test_damaged_exports_say_so(checkpoint, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match=r"\.safetensors"):
        export_checkpoint(load_checkpoint(checkpoint), tmp_path / "x.ckpt")
    export_checkpoint(load_checkpoint(checkpoint), path)
    card = path.with_suffix(".json").read_text()
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"x\.safetensors or its card is damaged"):
        load_checkpoint(path)
    path.write_bytes(whole)
    for text in (card[:100], "[]", "{}"):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.(safetensors|json)"):
            load_checkpoint(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks its card x\.json"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_shipped_checkpoint_generates_and_its_card_tells_what_it_is(name):
    model = load_checkpoint(name)
    needed = {"dataset", "split", "seed", "epoch", "hardware", "licence", "metrics", "sampler"}
    assert needed <= set(model.card)
    (crystal,) = sample(model, 1, sampler=Sampler(steps=5), device="cpu", progress=False)
    assert crystal.info["guidance"] == model.card["sampler"].get("guidance", 1.0)
    assert len(crystal) >= 1


def test_a_property_model_in_half_precision_and_by_name(tmp_path, monkeypatch, rng):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    torch.manual_seed(0)
    model = PropertyModel(PeriodicDimeNet(config), config, -3.0, 2.0, {"property": "e"})
    for output in model.network.output_blocks:  # zero at the start
        torch.nn.init.normal_(output.lin.weight)
    for half in (False, True):
        model.save(tmp_path / f"{half}.safetensors", half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (True, False)]
    assert sizes[0] < 0.75 * sizes[1]
    monkeypatch.setattr(cdvae, "FOLDER", tmp_path)
    read = cdvae.load_evaluator("True")
    crystals = [make_crystal(rng, n) for n in (2, 4)]
    expected = model.predict(crystals)
    assert read.predict(crystals) == pytest.approx(expected, abs=0.05, nan_ok=True)
    assert np.nanmax(np.abs(expected + 3.0)) > 0.2  # not the mean alone
    with pytest.raises(FileNotFoundError):
        cdvae.load_evaluator("none")


def test_what_is_shipped_stays_small():
    assert sum(f.stat().st_size for f in pretrained.FOLDER.glob("*")) < 30 * 2**20


def edited(path, change):
    """Change the JSON card of an exported checkpoint."""
    card = json.loads(path.with_suffix(".json").read_text())
    change(card)
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["denoiser"].update(dim=10**9), "denoiser has the number 1e\\+09"),
        (lambda c: c["config"]["denoiser"].update(dim=4096), "weights do not fit"),
        (lambda c: c["config"]["denoiser"].update(num_blocks=40), "weights do not fit"),
        (lambda c: c["config"]["process"].update(num_steps=10**12), "process has the number"),
        (lambda c: c["config"].update(denoiser=[1, 2]), "cannot be used"),
        (lambda c: c["config"].update(conditioner=None), "cannot be used"),
        (lambda c: c["config"].pop("process"), "cannot be used"),
        (lambda c: c["config"]["conditioner"].update(_target_=7), "cannot be used"),
        (lambda c: c["config"]["conditioner"].update(_target_="os.system"), "not trusted"),
        (lambda c: c["statistics"].update(lattice_rms=float("nan")), "statistics has the number"),
        (lambda c: c["statistics"].update(elements=[10**30]), "weights do not fit"),
        (lambda c: c["statistics"].update(elements=[6, 8, 22, 999]), "cannot be used"),
        (lambda c: c["statistics"].update(elements="CO"), "x.safetensors"),
        (lambda c: c["statistics"].update(properties=[1]), "cannot be used"),
        (lambda c: c.update(config=[]), "lacks \\['config'\\]"),
        (lambda c: c.update(format="new"), "newer version"),
    ],
)
def test_cards_from_elsewhere_are_refused_in_one_line(checkpoint, tmp_path, change, message):
    path = tmp_path / "x.safetensors"
    export_checkpoint(load_checkpoint(checkpoint), path)
    load_checkpoint(path)
    edited(path, change)
    with pytest.raises(ValueError, match=message) as told:
        load_checkpoint(path)
    assert "x.safetensors" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"config": ' + "9" * 10_000 + "}", '{"a": 1e'])
def test_cards_that_are_no_json_are_named(checkpoint, tmp_path, text):
    path = tmp_path / "x.safetensors"
    export_checkpoint(load_checkpoint(checkpoint), path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(checkpoint, tmp_path, value):
    raw = torch.load(checkpoint, weights_only=True)
    name = next(k for k in raw["state_dict"] if k.startswith("model.denoiser."))
    raw["state_dict"][name].view(-1)[-1] = value
    torch.save(raw, tmp_path / "x.ckpt")
    expected = rf"x\.ckpt: the weights {name.removeprefix('model.')} are not finite"
    with pytest.raises(ValueError, match=expected):
        load_checkpoint(tmp_path / "x.ckpt")
    model = load_checkpoint(checkpoint)
    parameter = next(model.model.parameters())
    parameter.data.view(-1)[0] = value
    with pytest.raises(ValueError, match=r"y\.safetensors: the weights .* are not finite"):
        export_checkpoint(model, tmp_path / "y.safetensors")
    parameter.data.view(-1)[0] = 1e6  # more than half precision holds
    with pytest.raises(ValueError, match="too large for half precision"):
        export_checkpoint(model, tmp_path / "y.safetensors")
    assert not list(tmp_path.glob("y*"))
    export_checkpoint(model, tmp_path / "y.safetensors", half=False)


def test_property_models_from_elsewhere_are_refused_in_one_line(tmp_path):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    path = tmp_path / "p.safetensors"
    model = PropertyModel(PeriodicDimeNet(config), config, -3.0, 2.0, {"property": "e"})
    facts = {"config": vars(config), "mean": 0.0, "std": 1.0, "card": {"property": "e"}}
    changes = [
        {"mean": float("nan")}, {"std": None}, {"config": {}}, {"config": {"hidden": 3}},
        {"config": {**vars(config), "hidden_channels": 10**9}},
        {"config": {**vars(config), "hidden_channels": 16}}, {"config": [1]},
    ]  # fmt: skip
    weights = {k: v.contiguous() for k, v in model.network.state_dict().items()}
    for change in changes:
        metadata = {"property_model": json.dumps({**facts, **change})}
        save_file(weights, path, metadata=metadata)
        with pytest.raises(ValueError, match=r"p\.safetensors") as told:
            PropertyModel.load(path)
        assert "\n" not in str(told.value)
    for text in ("{", "[" * 100_000, "7"):
        save_file(weights, path, metadata={"property_model": text})
        with pytest.raises(ValueError, match=r"p\.safetensors"):
            PropertyModel.load(path)
    next(model.network.parameters()).data.view(-1)[0] = float("nan")
    model.save(path)
    with pytest.raises(ValueError, match=r"p\.safetensors: the weights .* are not finite"):
        PropertyModel.load(path)


def test_a_name_of_an_earlier_version_gives_its_successor_and_says_so(caplog):
    for old, new in pretrained.SUCCESSORS.items():
        assert old not in pretrained_names()
        assert pretrained.find_checkpoint(old) == pretrained.find_checkpoint(new)
        assert f"{old} of version 0.1.0 was replaced by {new}" in caplog.text
