"""The pictures of the documentation can be made from the files of the repository."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from PIL import Image

ROOT = Path(__file__).parents[2]
LIMIT = 300_000  # bytes


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("make_pictures")


def test_every_picture_can_be_made_and_is_small(script, tmp_path):
    script.main(["--out", str(tmp_path)])
    made = {path.stem: path for path in tmp_path.glob("*.png")}
    assert set(made) == set(script.PICTURES)
    for path in made.values():
        assert path.stat().st_size < LIMIT
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert 0.5 < (pixels > 250).mean() < 0.97, "light background, and something on it"
    kept = {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    assert kept >= set(made), "the pictures of the repository are made by the script"


def test_pictures_in_the_repository_are_small():
    images = [p for p in (ROOT / "docs" / "images").iterdir() if p.suffix in {".png", ".svg"}]
    assert images
    assert all(path.stat().st_size < LIMIT for path in images)


def test_numbers_of_the_pictures_name_where_they_come_from():
    for path in (ROOT / "benchmarks" / "results" / "pictures").glob("*.json"):
        found = json.loads(path.read_text())
        assert found.get("commands") or "crysdiff benchmark" in found["command"], path.name
        assert found.get("judge") or found.get("conditions"), path.name


def test_numbers_of_the_pictures_are_those_of_the_results_page(script):
    page = (ROOT / "docs" / "results.md").read_text()
    throughput = script.load("throughput")
    row = re.compile(r"^\| (\S+, [\d,]+) \| ([\d,./= ]+) \|", re.MULTILINE)
    printed = [
        (name, *map(float, re.findall(r"[\d.]+", training.replace(",", ""))))
        for name, training in row.findall(page)
    ]
    for row in throughput["with_bf16"]["rows"]:
        training = [row[f"training_{key}"] for key in ("ours", "diffcsp", "ratio")]
        assert (f"{row['dataset']}, {row['batch']:,}", *training) in printed
    for row in script.load("few_steps")["rows"]:
        rates = [
            f"{row[key]['value']:.3f}".removeprefix("0")
            for key in ("sr5_all", "sr10_all", "sr15_all")
        ]
        line = next(
            line for line in page.replace("*", "").splitlines()
            if f"| {row['calls']:,} |" in line and all(rate in line for rate in rates)
        )  # fmt: skip
        assert f"{row['property_emd']['value']:.3f}".removeprefix("0") in line


def test_crystals_are_samples_of_one_seed():
    crystals = read(ROOT / "benchmarks" / "results" / "pictures" / "crystals.extxyz", ":")
    assert len(crystals) == 12
    assert {c.info["seed"] for c in crystals} == {0}
    assert {c.info["data_set"] for c in crystals} == {"perov5", "carbon24", "mp20"}


def test_captions(script):
    drawing = importlib.import_module("crystal_drawing")
    assert drawing.subscripted("Gd7O2F11") == "Gd$_{7}$O$_{2}$F$_{11}$"
    assert script._symbol("Pm-3m") == r"Pm{\bar{3}}m"
    assert script._symbol("P6_3/mmc") == "P6_{3}/mmc"
