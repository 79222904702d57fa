"""Modules under their old names: they still import, with a warning, until the next release."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "pyg_crysdiff"
MOVED = {
    "benchmark.choosing": "benchmark.selection",
    "benchmark.command": "cli.benchmark",
    "benchmark.drawing": "benchmark.sampling",
    "benchmark.judges": "benchmark.evaluators",
    "benchmark.requests": "benchmark.target_sweep",
    "benchmark.run": "benchmark.optimisation",
    "benchmark.structures": "pages.structures",
    "data.io": "data.writers",
    "data.named": "data.published",
    "data.parsed": "data.parse_cache",
    "diffusion.known": "diffusion.inpainting",
    "evaluation.chgnet": "relaxation.geometry",
    "evaluation.cdvae_evaluator": "property.cdvae",
    "evaluation.crystalnn": "evaluation.fingerprints.crystalnn",
    "evaluation.kept": "evaluation.cache",
    "evaluation.order_parameters": "evaluation.fingerprints.order_parameters",
    "evaluation.property_graphs": "property.graphs",
    "evaluation.property_model": "property.model",
    "evaluation.property_training": "property.training",
    "evaluation.selection": "property.selection",
    "models.shipped": "models.pretrained",
    "sampling.apply": "sampling.inpainting",
    "sampling.run": "sampling.pipeline",
    "training.check": "training.config_checks",
    "training.folder": "training.run_folder",
    "training.keeping": "training.checkpoints",
    "training.order": "training.samplers",
    "training.quiet": "training.lightning_output",
    "training.run": "training.trainer",
    "training.start": "training.finetune",
}


class _Renamed(MetaPathFinder, Loader):
    """Finds a module by its old name, where no module has that name any more."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name; None for every other name."""
        del path, target
        known = fullname.removeprefix(f"{PACKAGE}.") in MOVED
        return ModuleSpec(fullname, self) if known else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module under its new name in the place of the old one."""
        old = module.__name__
        new = f"{PACKAGE}.{MOVED[old.removeprefix(f'{PACKAGE}.')]}"
        warnings.warn(
            f"{old} is {new} now; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(new)


def install() -> None:
    """Let old names be found, after all other ways to find a module."""
    sys.meta_path.append(_Renamed())


def renamed(module: str, names: dict[str, str], name: str) -> str:
    """Return the new name of what a module had under an old one, with a warning.

    Args:
        module: Name of the module, for the message.
        names: Old name to new name.
        name: The name that was asked for.

    Raises:
        AttributeError: If the module never had it.
    """
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(
        f"{module}.{name} is {names[name]} now; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
    return names[name]


def moved(module: str, names: dict[str, str], name: str) -> Any:
    """Return what a module had and another one has now, with a warning.

    Args:
        module: Name of the module, for the message.
        names: Name here to the full name of where it is now.
        name: The name that was asked for.

    Raises:
        AttributeError: If the module never had it.
    """
    place, _, attribute = renamed(module, names, name).rpartition(".")
    return getattr(importlib.import_module(place), attribute)
