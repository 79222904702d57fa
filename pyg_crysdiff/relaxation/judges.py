"""Judges: potentials by name, with the version of their weights."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from pyg_crysdiff.relaxation.potentials import Potential
from pyg_crysdiff.storage import file_digest

JUDGES = ("chgnet", "sevennet", "ase:module.Class", "torchsim:NAME")
_SEVENNET = "0 (11Jul2024)"
_LOWEST = -20.0  # eV/atom; the lowest of the Materials Project's energies is near -14


@dataclass(frozen=True)
class Judge:
    """A potential by its name; loaded where it is needed, so that it can be sent to processes.

    Attributes:
        name: As on the command line.
        version: Version of the weights.
        load: Name of the function that loads it on a device, ``module:function``, and its
            arguments in ``options``.
        elements: Atomic numbers it was trained for; None where it does not say.
        lowest: Energies below it are no energies of crystals but holes of the potential, eV/atom.
        cpu_atoms: Atoms in a batch for which a core is fastest; 1 for one crystal at a time.
        scheme: Corrections that its energies hold.
    """

    name: str
    version: str
    load: str
    elements: frozenset[int] | None = None
    lowest: float = -math.inf
    cpu_atoms: int = 100
    scheme: str = ""
    options: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """Name and version: ``chgnet 0.3.0``."""
        return f"{self.name} {self.version}".strip()

    @property
    def identity(self) -> str:
        """What results are kept by: results of judges of equal identity are the same."""
        return self.title

    def potential(self, device: str = "cpu") -> Potential:
        """Load the potential, once per process and device."""
        return _loaded(self.load, self.options, device)


@cache
def _loaded(load: str, options: tuple[str, ...], device: str) -> Potential:
    module, _, name = load.partition(":")
    make: Callable[..., Any] = getattr(import_module(module), name)
    potential: Potential = make(*options, device=device)
    return potential


def find_judge(name: str | Judge) -> Judge:
    """Return a judge by its name.

    Args:
        name: ``chgnet`` (CHGNet 0.3.0), ``sevennet`` (SevenNet-0, version of 11 July 2024),
            ``ase:module.Class`` for any calculator of ASE that needs no arguments, or
            ``torchsim:NAME`` for a model of torch-sim: ``torchsim:sevennet``, or
            ``torchsim:module.function`` of a function that takes a device and returns a model. A
            judge is returned as it is.

    Raises:
        ValueError: If no judge has this name.
        ModuleNotFoundError: If its package is not installed; the message says how to get it.
    """
    if isinstance(name, Judge):
        return name
    kind, colon, rest = name.partition(":")
    if kind in _FINDERS and bool(colon) == (kind in ("ase", "torchsim")):
        return _FINDERS[kind](rest)
    raise ValueError(f"unknown judge {name!r}: choose one of {', '.join(JUDGES)}")


def _chgnet(_: str) -> Judge:
    _need("chgnet", "chgnet", "stability")
    return Judge(
        "chgnet", "0.3.0", f"{__package__}.chgnet:CHGNetPotential", frozenset(range(1, 95)),
        _LOWEST, cpu_atoms=100, scheme="MP2020",
    )  # fmt: skip


def _sevennet(_: str) -> Judge:
    _need("sevennet", "sevenn", "sevennet")
    return Judge(
        "sevennet", _SEVENNET, f"{__package__}.sevennet:SevenNetPotential",
        _sevennet_elements(), _LOWEST, cpu_atoms=24,
        scheme="none",  # of rock-salt MgO it gives -5.977 eV/atom, CHGNet with MP2020 -6.313
    )  # fmt: skip


def _sevennet_elements() -> frozenset[int]:
    """SevenNet-0's 89 elements: those of MPtrj, without Po, At, Rn, Fr and Ra."""
    return frozenset(range(1, 95)) - frozenset(range(84, 89))


def _ase(path: str) -> Judge:
    judge = f"ase:{path}"
    load = f"{__package__}.calculators:CalculatorPotential"
    return Judge(judge, _version(judge, path), load, cpu_atoms=1, options=(path,))


def _torchsim(name: str) -> Judge:
    judge = f"torchsim:{name}"
    _need(judge, "torch_sim", "torchsim")
    version = _SEVENNET if name == "sevennet" else _version(judge, name)
    return Judge(
        judge, version, f"{__package__}.torchsim:TorchSimPotential", cpu_atoms=50, options=(name,)
    )


def _version(judge: str, path: str) -> str:
    """Check that ``module.name`` is there; return its package's version, or its file's digest."""
    module, _, name = path.rpartition(".")
    package = module.partition(".")[0]
    if not module or importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f"{judge}: no module {module!r}; write {judge.partition(':')[0]}:module.name, as in "
            "ase:ase.calculators.emt.EMT, and install its package"
        )
    found = import_module(module)
    if not hasattr(found, name):
        raise ValueError(f"{judge}: the module {module!r} has no {name!r}")
    if version := getattr(import_module(package), "__version__", ""):
        return str(version)
    file = getattr(found, "__file__", None)  # of a user's own module the content counts
    return file_digest(file)[:8] if file else ""


def _need(judge: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f"the judge {judge} needs {package}: pip install 'pyg_crysdiff[{extra}]'"
        )


_FINDERS: dict[str, Callable[[str], Judge]] = {
    "chgnet": _chgnet, "sevennet": _sevennet, "ase": _ase, "torchsim": _torchsim,
}  # fmt: skip
