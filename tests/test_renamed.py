"""What had another name in 0.1.0 is still found under it, with a warning."""

import importlib
import sys

import pytest

from pyg_crysdiff._renamed import MOVED, PACKAGE


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_module_is_found_under_its_old_name(old, new):
    sys.modules.pop(f"{PACKAGE}.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"is {PACKAGE}.{new} now"):
        module = importlib.import_module(f"{PACKAGE}.{old}")
    assert module is importlib.import_module(f"{PACKAGE}.{new}")
    assert module.__name__ == f"{PACKAGE}.{new}"


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{PACKAGE}.benchmark.judge")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("models", "shipped_names", "pretrained_names"),
        ("diffusion.inpainting", "Known", "Inpainting"),
    ],
)
def test_a_name_is_found_under_its_old_one(module, old, new):
    room = importlib.import_module(f"{PACKAGE}.{module}")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(room, old) is getattr(room, new)
    with pytest.raises(AttributeError, match="never_was"):
        getattr(room, "never_was")  # noqa: B009


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("diffusion.joint", "Solver", "diffusion.kinds"),
        ("models.build", "build_process", "models.joint"),
        ("sampling.control", "Planner", "sampling.planner"),
    ],
)
def test_a_name_that_moved_is_found_in_its_old_place(module, name, new):
    room, place = (importlib.import_module(f"{PACKAGE}.{m}") for m in (module, new))
    with pytest.warns(DeprecationWarning, match=f"{new}.{name}"):
        assert getattr(room, name) is getattr(place, name)
