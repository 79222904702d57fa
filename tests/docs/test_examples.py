"""The examples run as they stand, and stay short."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
QUICK = {
    "own_property.py": ["--epochs", "1"],
    "constrained_design.py": ["--candidates", "8", "--keep", "2"],
    "design_loop.py": ["--budget", "8", "--batch", "4", "--draws", "8"],
    "score_samples.py": [],
    "workflow.py": ["--num-samples", "2"],
}
SAYS = {
    "own_property.py": "requested",
    "constrained_design.py": "the best",
    "design_loop.py": "hits in 8 evaluations",
    "score_samples.py": "uniqueness",
    "workflow.py": "relaxed with",
}


def test_examples_are_short_and_all_of_them_are_tested():
    assert set(SCRIPTS) == set(QUICK)
    for name in SCRIPTS:
        assert len((EXAMPLES / name).read_text().splitlines()) <= 60, name
    table = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in table for name in [*SCRIPTS, "tour.ipynb"])


def test_the_notebook_holds_no_outputs():
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, tmp_path):
    if name == "workflow.py":
        pytest.importorskip("jobflow")
    words = [sys.executable, str(EXAMPLES / name), *QUICK[name]]
    ended = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert SAYS[name] in ended.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's libraries, none of which ours uses
def test_notebook(tmp_path):
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2
