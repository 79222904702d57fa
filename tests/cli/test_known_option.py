import json

import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.cli.known import known_parts
from pyg_crysdiff.data import Crystal, load_dataset
from pyg_crysdiff.data.writers import write_extxyz

ENERGY = "formation_energy_per_atom"


def bare(crystals):
    """The same without what the file would say of them."""
    return [Crystal(c.lattice, c.frac_coords, c.atomic_numbers) for c in crystals]


def score(tmp_path, *more):
    out = tmp_path / "scores"
    main([
        "evaluate", str(tmp_path / "s.extxyz"), "--bootstrap", "0", "--workers", "0", "--out",
        str(out), *more,
    ])  # fmt: skip
    raw = json.loads((out / "results.json").read_text())
    metrics = {key: m["value"] for key, m in raw["rows"][0]["metrics"].items()}
    return metrics, raw, pd.read_csv(out / "s.extxyz.csv", keep_default_na=False)


def test_samples_are_looked_up_in_all_parts_of_a_data_set(tmp_path, capsys):
    parts = {name: load_dataset("demo", name).crystals()[:4] for name in ("train", "val", "test")}
    chosen = [crystal for crystals in parts.values() for crystal in crystals]
    write_extxyz(bare(chosen), tmp_path / "s.extxyz")
    metrics, raw, table = score(tmp_path, "--lookup", "demo", "--train", "demo")
    assert metrics["lookup_matched"] == 1
    assert table["known_part"].tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    assert table["known_id"].tolist() == [c.info["material_id"] for c in chosen]
    assert table["known_value"].tolist() == pytest.approx([c.info[ENERGY] for c in chosen])
    limit = raw["settings"]["thresholds"][0]
    hits = [c.info[ENERGY] <= limit for c in chosen]
    assert metrics["distinct_hits"] == sum(hits)
    assert metrics["new_hits"] == sum(hits[4:])
    facts = raw["settings"]["lookup"]
    assert facts["known"] == len(load_dataset("demo", "all"))
    assert facts["text"] in capsys.readouterr().out


def test_a_file_of_ones_own_as_look_up(tmp_path):
    crystals = load_dataset("demo", "train").crystals()[:6]
    write_extxyz(bare(crystals), tmp_path / "s.extxyz")
    table = pd.DataFrame({
        "name": [f"0{i}" for i in range(3)], "gap": [0.5, 1.0, 1.5],
        "cif": [c.to_structure().to(fmt="cif") for c in crystals[:3]],
    })  # fmt: skip
    table.to_csv(tmp_path / "known.csv", index=False)
    metrics, raw, found = score(tmp_path, "--lookup", str(tmp_path / "known.csv"))
    assert metrics["lookup_matched"] == 0.5
    assert found["known_value"][:3].astype(float).tolist() == [0.5, 1.0, 1.5]
    assert set(found["known_part"]) == {"known", ""}
    assert raw["settings"]["lookup"]["property"] == "gap"
    assert "distinct_hits" not in metrics  # no limit


def test_a_folder_split_by_files_has_its_parts(tmp_path):
    crystals = load_dataset("demo", "train").crystals()[:4]
    for name, some in (("train", crystals[:3]), ("test", crystals[3:])):
        pd.DataFrame({
            "gap": [0.5] * len(some), "cif": [c.to_structure().to(fmt="cif") for c in some],
        }).to_csv(tmp_path / f"{name}.csv", index=False)  # fmt: skip
    parts, first = known_parts(str(tmp_path), {})
    assert {name: len(part) for name, part in parts.items()} == {"train": 3, "test": 1}
    assert first.property_name == "gap"


@pytest.mark.parametrize("content", [None, "bare"])
def test_look_ups_that_are_refused(content, tmp_path, capsys):
    crystals = bare(load_dataset("demo", "train").crystals()[:2])
    write_extxyz(crystals, tmp_path / "s.extxyz")
    file = tmp_path / "known.extxyz"
    if content:
        write_extxyz(crystals, file)
    with pytest.raises(SystemExit) as stop:
        score(tmp_path, "--lookup", str(file))
    assert stop.value.code == 2
    message = "no numeric property" if content else "neither a data set"
    assert message in capsys.readouterr().err
