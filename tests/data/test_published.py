import gzip
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from pyg_crysdiff.data import DATASETS, MP20, Carbon24, load_dataset, provenance
from pyg_crysdiff.data.download import fetch, git_blob_id
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.writers import crystal_to_cif
from tests.conftest import make_crystal


class _Handler(BaseHTTPRequestHandler):
    """Serves one content with Range support, and may break off."""

    content = b""
    limit: int | None = None
    ranges: list = []  # noqa: RUF012

    def do_GET(self):
        start = 0
        if value := self.headers.get("Range"):
            start = int(value.removeprefix("bytes=").rstrip("-"))
        self.ranges.append(start)
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.limit is None else body[: self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (_Handler,), {"ranges": []})
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def carbon_csv(path, rng, count=20):
    frame = pd.DataFrame(
        {
            "material_id": range(count),
            "cif": [crystal_to_cif(make_crystal(rng, 4, (6,))) for _ in range(count)],
            "energy_per_atom": [-154.0 - i / 100 for i in range(count)],
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path


def test_git_blob_id_is_gits(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello world\n")
    # git hash-object of this content
    assert git_blob_id(tmp_path / "hello") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"


def test_download_resumes_and_verifies(tmp_path, server):
    handler, url = server
    handler.content = os.urandom(400_000)
    (tmp_path / "whole").write_bytes(handler.content)
    blob = git_blob_id(tmp_path / "whole")
    handler.limit = 150_000
    with pytest.raises(ConnectionError, match="cannot download"):
        fetch(f"{url}/f", tmp_path / "f.csv", blob)
    handler.limit = None
    fetch(f"{url}/f", tmp_path / "f.csv", blob)
    assert (tmp_path / "f.csv").read_bytes() == handler.content
    assert handler.ranges[-1] > 0
    with pytest.raises(ValueError, match="git blob id"):
        fetch(f"{url}/f", tmp_path / "g.csv", "0" * 40)
    assert not (tmp_path / "g.csv").exists()


def test_processes_that_download_at_once_do_not_disturb_each_other(tmp_path, server):
    handler, url = server
    handler.content = os.urandom(2_000_000)
    (tmp_path / "whole").write_bytes(handler.content)
    blob = git_blob_id(tmp_path / "whole")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch(f"{url}/f", tmp_path / "f.csv", blob), range(4)))
    assert (tmp_path / "f.csv").read_bytes() == handler.content
    assert len(handler.ranges) == 1


def test_a_set_downloads_its_file(tmp_path, server, rng, monkeypatch):
    handler, url = server
    path = carbon_csv(tmp_path / "made.csv", rng)
    handler.content = path.read_bytes()
    monkeypatch.setattr(Carbon24, "url", url)
    monkeypatch.setattr(Carbon24, "blobs", {"test": git_blob_id(path)})
    monkeypatch.setattr(Carbon24, "rows", {"test": 20})
    dataset = Carbon24(tmp_path / "root", "test")
    assert len(dataset) == 20
    assert dataset.display_name == "Carbon-24"
    assert dataset.split_description == "official"


def published_carbon(folder, rng, monkeypatch):
    """Make a small Carbon-24 whose files count as the published ones."""
    counts = {"train": 12, "val": 20, "test": 7}
    files = {part: carbon_csv(folder / f"{part}.csv", rng, n) for part, n in counts.items()}
    monkeypatch.setattr(Carbon24, "blobs", {p: git_blob_id(file) for p, file in files.items()})
    monkeypatch.setattr(Carbon24, "rows", counts)
    return files


def compress(file):
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


def changed(file, keep):
    frame = pd.read_csv(file).iloc[:keep]
    frame.loc[0, "energy_per_atom"] += 1e-9
    frame.to_csv(file, index=False)


@pytest.mark.parametrize(
    ("change", "official", "val_as_train"),
    [
        (lambda files: None, "official", "val-as-train"),
        (lambda files: compress(files["train"]), "official", "val-as-train"),
        (lambda files: files["test"].unlink(), "official", "val-as-train"),
        (
            lambda files: (changed(files["train"], 5), compress(files["train"])),
            "official, 5 of 12 training crystals",
            "val-as-train",
        ),
        (
            lambda files: changed(files["train"], 12),
            "official, train.csv differs from the published file",
            "val-as-train",
        ),
        (
            lambda files: (changed(files["val"], 20), changed(files["test"], 7)),
            "official, val.csv and test.csv differ from the published files",
            "val-as-train, val.csv and test.csv differ from the published files",
        ),
        (
            lambda files: (changed(files["val"], 19), changed(files["train"], 12)),
            "official, train.csv differs from the published file, 19 of 20 validation crystals",
            "val-as-train, 19 of 20 validation crystals",
        ),
        (
            lambda files: files["val"].with_name("train.csv").write_bytes(b"\xff\xfe"),
            "official, train.csv cannot be read",
            "val-as-train",
        ),
    ],
)
def test_a_part_says_what_differs_from_the_published_files(
    tmp_path, rng, monkeypatch, change, official, val_as_train
):
    change(published_carbon(tmp_path / "data", rng, monkeypatch))
    for scheme, wanted in (("official", official), ("val-as-train", val_as_train)):
        options = {"root": tmp_path / "c", "source": tmp_path / "data", "scheme": scheme}
        part = load_dataset("carbon24", "val", **options)
        assert part.split_description == wanted


def test_the_facts_of_a_file_are_found_once_and_anew_when_it_changes(tmp_path, rng, monkeypatch):
    file = published_carbon(tmp_path / "data", rng, monkeypatch)["train"]
    options = {"root": tmp_path / "c", "source": tmp_path / "data"}
    with monkeypatch.context() as watched:
        calls = []
        watched.setattr(provenance, "blob_id_of", lambda text: calls.append(text) or "0" * 40)
        wanted = "train.csv, val.csv and test.csv differ from the published files"
        for _ in range(2):
            found = load_dataset("carbon24", "train", **options).split_description
            assert found == f"official, {wanted}"
        assert len(calls) == 3
    changed(file, 3)
    assert load_dataset("carbon24", "train", **options).split_description.startswith(
        "official, 3 of 12 training crystals"
    )


def test_more_crystals_than_published(tmp_path, rng, monkeypatch):
    published_carbon(tmp_path / "data", rng, monkeypatch)
    monkeypatch.setitem(Carbon24.rows, "train", 10)
    dataset = load_dataset("carbon24", root=tmp_path / "c", source=tmp_path / "data")
    assert dataset.split_description == "official, 12 instead of 10 training crystals"


def test_without_network_the_message_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(Carbon24, "url", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"(?s)needs the file train\.csv.*raw"):
        Carbon24(tmp_path, "train")


def test_val_as_train_needs_no_train_file(tmp_path, rng):
    carbon_csv(tmp_path / "data/carbon_24/val.csv", rng, 20)
    carbon_csv(tmp_path / "data/carbon_24/test.csv", rng, 7)
    parts = [
        load_dataset("carbon24", s, root=tmp_path / "c", source=tmp_path / "data",
                     scheme="val-as-train")
        for s in ("train", "val", "test")
    ]  # fmt: skip
    assert [len(p) for p in parts] == [18, 2, 7]
    assert parts[0].split_description == (
        "val-as-train, 20 of 2,032 validation crystals, 7 of 2,030 test crystals"
    )
    rows = [int(d.row) for p in parts[:2] for d in p]
    assert sorted(rows) == list(range(20))
    with pytest.raises(FileNotFoundError, match=r"train\.csv"):
        load_dataset("carbon24", "train", root=tmp_path / "c", source=tmp_path / "data")


def test_the_part_of_mp20_is_called_a_part(tmp_path, rng):
    path = carbon_csv(tmp_path / "data/mp_20_biternary/test.csv", rng, 5)
    frame = pd.read_csv(path).rename(columns={"energy_per_atom": "formation_energy_per_atom"})
    hull = [0.0, None, None, 0.1, 0.2]
    frame.assign(band_gap=None, e_above_hull=hull).to_csv(path, index=False)
    dataset = MP20(tmp_path / "c", "test", source=tmp_path / "data")
    assert dataset.display_name == "MP-20, binary and ternary"
    # A gap in a property that nobody asked for costs no crystal.
    assert len(dataset) == 5
    assert dataset.targets == ["formation_energy_per_atom"]
    assert len(with_value(dataset.crystals(), "e_above_hull")) == 3
    assert not with_value(dataset.crystals(), "band_gap")


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="scheme"):
        Carbon24(tmp_path, scheme="mine")
    with pytest.raises(ValueError, match="split"):
        Carbon24(tmp_path, "trian")
    with pytest.raises(ValueError, match="unexpected keyword"):
        load_dataset("demo", scheme="official")


def test_published_constants():
    assert DATASETS["perov5"].success_thresholds == (0.43924842, 0.61202443, 0.7364607)
    assert DATASETS["mp20"].coverage_cutoffs["symat"] == (0.6, 12.0)


@pytest.mark.real_data
@pytest.mark.skipif("CRYSDIFF_DATA" not in os.environ, reason="CRYSDIFF_DATA is not set")
@pytest.mark.parametrize(("name", "counts"), [("carbon24", (1829, 2030)), ("perov5", (3408, 3785))])
def test_real_files(tmp_path, name, counts):
    source = Path(os.environ["CRYSDIFF_DATA"])
    options = {"root": tmp_path, "source": source, "scheme": "val-as-train"}
    train, test = (load_dataset(name, s, **options) for s in ("train", "test"))
    assert (len(train), len(test)) == counts
    assert not train.broken
    assert not test.broken
