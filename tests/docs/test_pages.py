"""The pages that people follow step by step are executed as they stand, on a tiny case."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_runner():
    path = ROOT / "scripts" / "run_page.py"
    spec = importlib.util.spec_from_file_location("run_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["quickstart", "own_data", "design", "extending", "several_machines", "drop_in"]
)
def test_page(page, tmp_path, monkeypatch):
    if page == "several_machines":
        pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    assert os.environ["CRYSDIFF_CACHE"]
    assert load_runner().run_page(ROOT / "docs" / f"{page}.md", tiny=True) >= 1


@pytest.mark.slow
def test_the_python_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_runner().run_page(ROOT / "README.md", tiny=True, only="python") >= 1


@pytest.mark.slow
def test_the_python_of_the_page_on_known_crystals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_runner().run_page(ROOT / "docs" / "known_crystals.md", only="python") == 1


def test_one_kind_of_block_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```bash\nfalse\n```\n```python\nprint(1)\n```\n")
    assert load_runner().run_page(page, only="python") == 1


def test_a_replacement_that_finds_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- tiny: a => b -->\n```bash\necho c\n```\n")
    runner = load_runner()
    with pytest.raises(ValueError, match="nothing to replace"):
        runner.run_page(page, tiny=True)
    assert runner.run_page(page) == 1
    page.write_text("```bash\nfalse\n```\n")
    with pytest.raises(Exception, match="non-zero exit"):
        runner.run_page(page)
