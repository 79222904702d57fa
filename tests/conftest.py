"""Fixtures shared by the suite: small generated crystals, no file of anybody else's."""

import io
import zipfile

import numpy as np
import pytest
import torch

from pyg_crysdiff.data.crystal import Crystal

torch.set_num_threads(1)
torch.set_warn_always(True)  # not once in a process, so that no test depends on another's


def make_crystal(rng: np.random.Generator, num_atoms: int, elements=(6, 8, 22, 38)) -> Crystal:
    """Random atoms in a cell of about 12 cubic Angstrom per atom, axes of unequal length."""
    edge = (12.0 * num_atoms) ** (1 / 3)
    lattice = np.diag(edge * rng.uniform(0.8, 1.2, 3)) + rng.normal(0, 0.1 * edge, (3, 3))
    return Crystal(lattice, rng.random((num_atoms, 3)), rng.choice(elements, num_atoms))


def zipped(files: dict[str, bytes | str]) -> bytes:
    """A zip archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    """Keep caches of data sets out of the user's folders."""
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
