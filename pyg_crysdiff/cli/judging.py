"""Options of commands that ask a potential, and the known crystals that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.numbers import positive, whole

if TYPE_CHECKING:
    from pyg_crysdiff.data import Crystal
    from pyg_crysdiff.relaxation import RelaxSettings

JUDGE = "chgnet, sevennet, ase:module.Class or torchsim:NAME"
_PARTS = ("train", "val", "test")


def add_settings(add: Any, steps: str = "--steps") -> None:
    """Declare when a relaxation ends, and where it runs.

    Args:
        add: ``add_argument`` of a parser or group.
        steps: Name of the option for the number of steps.
    """
    add(steps, dest="relax_steps", type=whole, default=500, help="most steps (default: 500)")
    add("--fmax", type=positive, default=0.05, help="largest force at the end, eV/A (default: .05)")
    add("--smax", type=positive, default=0.4, help="largest stress at the end, GPa (default: .4)")
    add("--no-cell", action="store_true", help="keep the cell; the stress does not count then")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ..., auto (default: cpu)")


def settings_of(args: argparse.Namespace) -> RelaxSettings:
    """Return the settings that the options of :func:`add_settings` name."""
    from pyg_crysdiff.relaxation import RelaxSettings  # noqa: PLC0415

    return RelaxSettings(args.relax_steps, args.fmax, args.smax, not args.no_cell)


def device_of(name: str) -> str:
    """Return the device that a name stands for.

    Raises:
        ValueError: If there is no such device here.
    """
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415

    return str(choose_device(name))


def all_crystals(name: str, options: dict[str, Any]) -> list[Crystal]:
    """Return the crystals of all parts of a data set, or of a file or folder.

    Args:
        name: Name of a data set, or a path.
        options: Options of ``load_dataset``.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If an entry of a file cannot be read.
    """
    from pyg_crysdiff.data import load_dataset  # noqa: PLC0415  (imports PyG)
    from pyg_crysdiff.data.names import DATASET_NAMES  # noqa: PLC0415
    from pyg_crysdiff.data.splits import split_files  # noqa: PLC0415
    from pyg_crysdiff.storage import user_path  # noqa: PLC0415

    if name in DATASET_NAMES:
        return [c for part in _PARTS for c in load_dataset(name, part, **options).crystals()]
    if not user_path(name).exists():
        raise FileNotFoundError(
            f"{name}: neither a data set ({', '.join(DATASET_NAMES)}) nor a file"
        )
    files = split_files(Path(user_path(name)))
    parts = [part for part in _PARTS if part in files] if files else ["all"]
    return [c for part in parts for c in load_dataset(name, part).crystals()]
