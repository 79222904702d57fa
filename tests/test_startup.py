"""What the commands load: sampling and scoring a file wait for nothing that they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyg_crysdiff.data.names import DATASET_NAMES
from pyg_crysdiff.data.published import DATASETS

# Each of them takes a second or more to import, or brings another one along. Not sympy: PyTorch
# loads it for the first gradient, and older pymatgen always.
SLOW = (
    "torch_geometric", "torch._dynamo", "lightning", "hydra", "matplotlib", "plotly",
)  # fmt: skip
RUN = """
import sys
from pyg_crysdiff.cli import main
main(sys.argv[2:])
print("loaded:", *[name for name in sys.argv[1].split(",") if name in sys.modules])
"""


def loaded(folder: Path, slow: tuple[str, ...], *arguments: str) -> list[str]:
    """Return which of the modules a command has loaded; in a log file it says what matters."""
    command = [sys.executable, "-c", RUN, ",".join(slow), *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "\r" not in out + err
    assert "Warning" not in err
    return out.splitlines()[-1].split()[1:]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder with samples of one command, and what this command has loaded."""
    folder = tmp_path_factory.mktemp("startup")
    sample = ("sample", "--checkpoint", "perov5-cds", "-n", "1", "--num-atoms", "2", "--steps", "1")
    return folder, loaded(folder, SLOW, *sample)


def test_sampling_loads_neither_pyg_nor_lightning(samples: tuple[Path, list[str]]) -> None:
    folder, found = samples
    assert (folder / "samples" / "samples.pt").is_file()
    assert found == []


def test_scoring_a_file_loads_neither_pyg_nor_lightning(samples: tuple[Path, list[str]]) -> None:
    folder, _ = samples
    file = "samples/samples.pt"
    assert loaded(folder, SLOW, "evaluate", file, "--reference", file, "--workers", "0") == []
    assert (folder / "scores" / "results.json").is_file()


def test_a_database_of_known_crystals_loads_neither_pyg_nor_lightning(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").write_text(
        '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\n'
    )
    assert loaded(tmp_path, SLOW, "index", "a.extxyz", "--out", "k.sqlite", "--workers", "0") == []
    assert loaded(tmp_path, SLOW, "index", "k.sqlite") == []


def test_names_of_data_sets_are_those_of_their_classes() -> None:
    assert tuple(DATASETS) == DATASET_NAMES


WAITS = """
import os, sys
from pyg_crysdiff.cli import command
wait = command.wait_briefly
def seen():
    print("before" if "torch" not in sys.modules else "after", "PyTorch")
    wait()
command.wait_briefly = seen
command.main(["info", "perov5-cds"])
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("own", "found"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_are_told_to_wait_briefly_before_pytorch_is_loaded(
    own: dict[str, str], found: str
) -> None:
    """Spinning threads would slow down all that shares the cores; what the user has set stays."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    rest = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", WAITS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**rest, **own})
    lines = done.stdout.splitlines()
    assert lines[0] == "before PyTorch"
    assert lines[-1] == found
