"""Where things are kept: cache folders that can and cannot be written to."""

import os
import stat
from pathlib import Path

import pytest

from pyg_crysdiff import platform
from pyg_crysdiff.platform import cache_folder


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.delenv("CRYSDIFF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for cached in (platform._unwritable, platform._temporary_cache):
        cached.cache_clear()
    yield
    for cached in (platform._unwritable, platform._temporary_cache):
        cached.cache_clear()


def _file(path: Path) -> Path:
    """Nobody can write below a file, not even the superuser."""
    path.write_text("x")
    return path


def test_the_usual_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "pyg_crysdiff"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pyg_crysdiff"


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_temporary_folder_takes_its_place_and_that_is_said_once(
    variable, monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv(variable, str(_file(tmp_path / "closed")))
    found = {cache_folder() for _ in range(3)}
    assert len(found) == 1
    (folder,) = found
    assert folder.parent == tmp_path / "temporary"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (record,) = caplog.records
    assert "CRYSDIFF_CACHE" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="names its folder after the user")
def test_a_temporary_folder_that_others_can_write_to_is_not_used(monkeypatch, tmp_path):
    trap = tmp_path / "temporary" / f"pyg_crysdiff-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    monkeypatch.setenv("HOME", str(_file(tmp_path / "closed")))
    assert cache_folder() != trap
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


def test_a_folder_of_ones_own_choice_that_cannot_be_written_to_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSDIFF_CACHE", str(_file(tmp_path / "mine")))
    with pytest.raises(ValueError, match=r"CRYSDIFF_CACHE is .*mine"):
        cache_folder()
