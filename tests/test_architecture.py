"""Which rooms of the house may use which others, and what importing the package costs."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import pyg_crysdiff

PACKAGE = "pyg_crysdiff"
ROOT = Path(pyg_crysdiff.__file__).parent
HEAVY = {"torch", "lightning", "pymatgen", "torch_geometric", "hydra"}

# Room to the rooms that it may use, from the ground floor up. Single modules beside the rooms
# (storage, platform, ...) are tools that all may use, and use no room.
GENERATORS = {"data", "diffusion", "nn", "models", "structrepdiff"}
MAY_USE = {
    "data": set(),
    "diffusion": set(),
    "nn": {"data"},
    "models": {"data", "diffusion", "nn"},  # families register by name: models/build.py
    "structrepdiff": {"data", "diffusion", "nn", "models"},
    "training": GENERATORS,
    "known": {"data"},
    "relaxation": {"data"},
    "pages": {"data"},
    "evaluation": {"data", "known", "relaxation"},
    "property": GENERATORS | {"evaluation", "known", "training"},
    "sampling": GENERATORS | {"evaluation"},
    "design": GENERATORS
    | {"evaluation", "known", "pages", "property", "relaxation", "sampling", "training"},
    "baselines": {"data", "evaluation"},
    "benchmark": GENERATORS
    | {
        "baselines",
        "design",
        "evaluation",
        "known",
        "pages",
        "property",
        "relaxation",
        "sampling",
        "training",
    },
    "adapters": {"diffusion", "nn"},
    "testing": {"data", "diffusion", "nn", "relaxation"},
    "cli": GENERATORS
    | {
        "benchmark",
        "design",
        "evaluation",
        "known",
        "property",
        "relaxation",
        "sampling",
        "training",
    },
}

FACES = ("", "__main__", "jobs")  # of the package, the command and workflow managers


def modules() -> dict[str, Path]:
    """All modules of the package by their dotted names."""
    out = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = [PACKAGE, *file.relative_to(ROOT).with_suffix("").parts]
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return out


def imported(tree: ast.AST, inside: str) -> set[str]:
    """Dotted names that a module imports, also within functions and for type checkers."""
    out: set[str] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = inside.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            out |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
        todo += ast.iter_child_nodes(node)
    return out


def arrows() -> dict[str, set[str]]:
    """Module to the modules of the package that it imports."""
    known = modules()
    out = {}
    for name, file in known.items():
        inside = f"{name}.__init__" if file.stem == "__init__" else name
        found = imported(ast.parse(file.read_text()), inside) & set(known)
        # `from a import b` where b is a module needs a's face only on the way to b
        needless = {f for f in found if any(other.startswith(f"{f}.") for other in found)}
        names_of_faces = {f for f in needless if _takes_names(file, f, known)}
        out[name] = (found - needless | names_of_faces) - {name, PACKAGE}
    return out


def _takes_names(file: Path, face: str, known: dict[str, Path]) -> bool:
    """Whether a file takes something from a package that is no module of it."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == face
        and any(f"{face}.{alias.name}" not in known for alias in node.names)
        for node in ast.walk(ast.parse(file.read_text()))
    )


def room(module: str) -> str:
    """Sub-package that a module lies in, or its own name beside them."""
    return module.split(".")[1] if "." in module else ""


def test_arrows_between_rooms():
    wrong = defaultdict(set)
    for module, targets in arrows().items():
        for target in targets:
            a, b = room(module), room(target)
            if b in MAY_USE and a != b and a in MAY_USE and b not in MAY_USE[a]:
                wrong[module].add(target)
            if b in MAY_USE and a not in MAY_USE and a not in FACES:
                wrong[module].add(target)  # a tool that uses a room
    assert dict(wrong) == {}
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"storage", "engine"} == set(MAY_USE)  # tools that fill a folder


def test_arrows_run_down_only():
    """Every room uses rooms that stand before it in the table, but for wings beside each other."""
    graph = {name: set(targets) for name, targets in MAY_USE.items()}
    while free := [name for name, targets in graph.items() if not targets]:
        graph = {n: t - set(free) for n, t in graph.items() if n not in free}
    assert graph == {}


def test_no_circle_of_modules():
    graph = arrows()
    while free := [name for name, targets in graph.items() if not targets]:
        graph = {n: t - set(free) for n, t in graph.items() if n not in free}
    users = {n: t for n, t in graph.items() if any(n in other for other in graph.values())}
    assert users == {}


def test_the_walk_sees_imports_of_every_kind():
    code = """
from typing import TYPE_CHECKING
import pyg_crysdiff.a
from .b import c
if TYPE_CHECKING:
    from pyg_crysdiff.g import d
def f():
    from pyg_crysdiff import e
"""
    found = imported(ast.parse(code), "pyg_crysdiff.room.module")
    assert {f"pyg_crysdiff.{m}" for m in ("a", "room.b", "e", "g")} <= found


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a new interpreter has loaded after some code."""
    tell = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["pyg_crysdiff", "pyg_crysdiff.evaluation", "pyg_crysdiff.relaxation"]
)
def test_a_face_loads_nothing_until_it_is_asked(module):
    assert not loaded_after(f"import {module}") & HEAVY


def test_the_harness_loads_neither_training_nor_models():
    names = [name for name in modules() if room(name) == "evaluation"]
    assert len(names) > 15
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    assert f"{PACKAGE}.evaluation.harness" in loaded
    rooms = {room(name) for name in loaded if name.startswith(PACKAGE)}
    assert not rooms & {"training", "property", "models", "nn", "sampling", "diffusion"}
    assert "lightning" not in loaded


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
