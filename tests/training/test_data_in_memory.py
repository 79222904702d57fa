"""Training on data sets that were made in memory, and on opened ones that were handed over."""

import json

import pytest
import torch

from pyg_crysdiff.data import Crystal, CrystalDataset, load_dataset, property_of
from pyg_crysdiff.data.statistics import atomic_numbers_of
from pyg_crysdiff.models import export_checkpoint, load_checkpoint
from pyg_crysdiff.training import fit, resume, train
from pyg_crysdiff.training.data import of_known_elements
from tests.helpers import same_weights, small_config, toy_set, toy_sets

TINY = [
    "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2", "denoiser.pair_hidden=4",
    "process.num_steps=20", "device=cpu", "max_epochs=1", "precision=32-true",
]  # fmt: skip


def recorded(folder):
    return json.loads((folder / "config.json").read_text())["data"]


def test_data_come_before_the_configuration_and_the_record_says_so(tmp_path):
    config = small_config(max_epochs=1)
    assert config["data"]["name"] == "demo"
    loaded = load_checkpoint(train(config, tmp_path, data=toy_sets(), progress=False).checkpoint)
    assert recorded(tmp_path) == loaded.config["data"] == {"in_memory": "toy"}
    assert (loaded.card["dataset"], loaded.card["split"]) == ("toy", "generated")
    assert loaded.card["num_train"] == 24
    export_checkpoint(loaded, tmp_path / "x.safetensors")
    assert load_checkpoint(tmp_path / "x.safetensors").card["dataset"] == "toy"


def test_a_run_takes_the_same_data_again(tmp_path):
    config = small_config(max_epochs=1)
    train(config, tmp_path, data=toy_sets(), progress=False)
    with pytest.raises(ValueError, match=r"pass the same data again: data=\(train, val\)"):
        resume(tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"in memory: pass the same data=\(train, val\) again"):
        train(config, tmp_path, progress=False)  # on the demo set, which the configuration names
    other = toy_set(24, seed=5), toy_set(8, seed=1)
    with pytest.raises(ValueError, match="content"):
        train(config, tmp_path, data=other, progress=False)
    longer = train({**config, "max_epochs": 2}, tmp_path, data=toy_sets(), progress=False)
    assert longer.epochs == 2
    assert recorded(tmp_path) == {"in_memory": "toy"}


@pytest.mark.parametrize("val", [None, CrystalDataset.from_crystals([])])
def test_there_may_be_no_validation(tmp_path, val):
    result = fit(TINY, tmp_path, data=(toy_set(10), val), progress=False)
    assert result.epochs == 1
    assert "val/" not in (tmp_path / "metrics.csv").read_text()


def test_what_is_no_data_says_how_to_make_it(tmp_path):
    train_set = toy_set(4)
    for data in (train_set, (train_set,)):
        with pytest.raises(TypeError, match=r"data=\(train, val\)"):
            fit(TINY, tmp_path, data=data)
    for data in ((train_set.crystals(), None), (None, train_set)):
        with pytest.raises(TypeError, match=r"CrystalDataset\.from_crystals"):
            fit(TINY, tmp_path, data=data)
    bare = CrystalDataset.from_crystals(train_set.crystals(), {"gap": [0.0] * 4})
    with pytest.raises(ValueError, match=r"validation set of toy has no properties \['energy'\]"):
        fit(TINY, tmp_path, data=(train_set, bare))
    with pytest.raises(ValueError, match=r"no properties \['gap'\] in toy; it has \['energy'\]"):
        fit([*TINY, "properties=[gap]"], tmp_path / "gap", data=(train_set, None))
    assert not list(tmp_path.rglob("last.ckpt"))


def test_opened_sets_are_recorded_by_their_name(tmp_path):
    """They train to the same weights as by name, and the run goes on from its folder alone."""
    by_name = fit(["data=demo", *TINY], tmp_path / "name", progress=False)
    sets = load_dataset("demo", "train"), load_dataset("demo", "val")
    handed_over = fit(TINY, tmp_path / "sets", data=sets, progress=False)
    models = [load_checkpoint(run.checkpoint).model for run in (by_name, handed_over)]
    assert same_weights(*models)
    assert recorded(tmp_path / "sets") == {"name": "demo"}
    assert resume(tmp_path / "sets", progress=False).epochs == 1
    part = sets[0][:20], sets[1]
    fit(TINY, tmp_path / "part", data=part, progress=False)
    assert recorded(tmp_path / "part") == {"in_memory": sets[0].display_name}


def test_validation_crystals_of_unknown_elements_are_left_out_and_named(tmp_path, caplog):
    train_set, val_set = toy_sets()
    crystals = val_set.crystals()
    gold = [Crystal(c.lattice, c.frac_coords, [79] * len(c)) for c in crystals[:3]]
    values = {"energy": [property_of(data, "energy") for data in val_set]}
    mixed = CrystalDataset.from_crystals([*gold, *crystals[3:]], values, name="toy", niggli=False)
    config = small_config(max_epochs=1, validate_every=1)
    train(config, tmp_path / "mixed", data=(train_set, mixed), progress=False)
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any(
        f"3 of {len(crystals)} validation crystals are left out: elements [79]" in text
        for text in said
    )
    rest = CrystalDataset.from_crystals(
        crystals[3:], {"energy": values["energy"][3:]}, name="toy", niggli=False
    )
    train(config, tmp_path / "rest", data=(train_set, rest), progress=False)
    left = [
        [
            line.rsplit(",", 4)[1:]
            for line in (tmp_path / name / "metrics.csv").read_text().splitlines()
        ]
        for name in ("mixed", "rest")
    ]
    assert left[0] == left[1]  # the same validation losses


def test_elements_of_a_set_are_read_at_once_or_behind_its_transform(caplog):
    whole = toy_set(8)
    one_by_one = torch.cat([data.atomic_numbers for data in whole])
    assert torch.equal(atomic_numbers_of(whole), one_by_one)
    part = whole[[5, 2]]
    assert torch.equal(
        atomic_numbers_of(part), torch.cat([whole[k].atomic_numbers for k in (5, 2)])
    )
    known = one_by_one.unique()
    assert of_known_elements(whole, known) is whole
    assert of_known_elements(whole[[]], known[:0]) is not None
    assert not caplog.records

    def gilded(data):
        data.atomic_numbers = torch.full_like(data.atomic_numbers, 79)
        return data

    whole.transform = gilded
    assert set(atomic_numbers_of(whole).tolist()) == {79}
    assert len(of_known_elements(whole, known)) == 0
    assert "elements [79]" in caplog.text
