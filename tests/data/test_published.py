import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from pyg_crysdiff.data import DATASETS, MP20, Carbon24, load_dataset
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
    dataset = Carbon24(tmp_path / "root", "test")
    assert len(dataset) == 20
    assert dataset.display_name == "Carbon-24"
    assert dataset.split_description == "official"


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
    assert parts[0].split_description == "val-as-train"
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
