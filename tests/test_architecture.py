"""Which rooms of the house may use which others, and what importing the package costs."""

import subprocess
import sys

import pytest

import pyg_crysdiff

HEAVY = {"torch", "lightning", "pymatgen", "torch_geometric", "hydra"}


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a new interpreter has loaded after some code."""
    tell = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["pyg_crysdiff", "pyg_crysdiff.evaluation"])
def test_a_face_loads_nothing_until_it_is_asked(module):
    assert not loaded_after(f"import {module}") & HEAVY


def test_the_face_of_the_package():
    from pyg_crysdiff import Crystal, Sampler, evaluate, select
    from pyg_crysdiff.data.crystal import Crystal as SameCrystal
    from pyg_crysdiff.evaluation.harness import evaluate as same_evaluate

    assert Crystal is SameCrystal
    assert evaluate is same_evaluate
    assert Sampler().steps == 200
    assert callable(select)
    assert set(pyg_crysdiff.__all__) <= set(dir(pyg_crysdiff))
    for name in pyg_crysdiff.__all__:
        assert getattr(pyg_crysdiff, name) is not None
    with pytest.raises(AttributeError, match="colour"):
        _ = pyg_crysdiff.colour
