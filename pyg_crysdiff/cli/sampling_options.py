"""Options that say how a model is sampled, shared by the commands that draw crystals."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pyg_crysdiff.cli.numbers import count, finite, positive, share, whole, whole_range
from pyg_crysdiff.cli.samples import read_samples
from pyg_crysdiff.diffusion.kinds import Solver, Spacing

if TYPE_CHECKING:
    from pyg_crysdiff.data import Crystal


SAMPLER_VALUES = ("solver", "steps", "spacing", "corrector_steps", "renewal", "temperature")
_FROM_CARD = (
    "Default: the checkpoint's card, else fast. A sampler that you name is taken whole:\n"
    "what the options leave open comes from the preset, never from the card."
)


def add_sampler(parser: argparse.ArgumentParser, description: str = _FROM_CARD) -> None:
    """Declare the sampler: a preset, or single values that replace a preset's."""
    add = parser.add_argument_group("sampler", description).add_argument
    add(
        "--sampler", choices=["fast", "paper"],
        help="paper: all steps with a Langevin move each; fast: nearly as good from a tenth of the "
        "network calls (default for the options below: paper with --solver ancestral, else fast)",
    )  # fmt: skip
    add(
        "--solver", choices=get_args(Solver),
        help="renewing: adds the noise of the coordinates anew in every step; flow: follows the "
        "probability flow; mixed: the first for coordinates, the second for lattices",
    )  # fmt: skip
    add("--steps", type=count, help="reverse steps")
    add("--spacing", choices=get_args(Spacing), help="times of the steps")
    add("--corrector-steps", type=whole, help="moves of the coordinates at fixed time per step")
    add(
        "--renewal", type=share,
        help="share of the noise that a corrector move replaces, e.g. 0.7; 0 = Langevin (DiffCSP)",
    )  # fmt: skip
    add(
        "--temperature", type=positive,
        help="below 1: more often the likely places of atoms, fewer different structures; not "
        "with --solver flow",
    )  # fmt: skip


def add_control(parser: argparse.ArgumentParser) -> None:
    """Declare the hard constraints."""
    add = parser.add_argument_group("hard constraints, obeyed by every crystal").add_argument
    add(
        "--formula", action="append", default=[],
        help="exact composition, e.g. Ti2O4; several are taken in turn; with --num-atoms its "
        "multiples of the reduced formula",
    )  # fmt: skip
    add("--chemical-system", metavar="Li-Fe-O", help="all of these elements and no other")
    add("--allow", default="", metavar="EL,EL", help="no other elements than these")
    add("--forbid", default="", metavar="EL,EL", help="none of these elements")
    add("--require", default="", metavar="EL,EL", help="each of these elements occurs")
    add("--charge-neutral", action="store_true", help="compositions that are valid under SMACT")
    add("--num-elements", type=whole_range, metavar="2-3", help="number of different elements")
    add("--template", type=Path, help="structure file whose first crystal is kept in part")
    add(
        "--keep-sites", metavar="0-3,7",
        help="sites of the template from 0, in the order of its file (default: all)",
    )  # fmt: skip
    add(
        "--keep", default="coordinates,species,lattice",
        help="what of the template is kept (default: %(default)s)",
    )  # fmt: skip


def sampler_of(args: argparse.Namespace, model: Callable[[], Any]) -> Any:
    """Return the sampler of the options: a preset alone by its name, None where none is given.

    Args:
        args: Options.
        model: Gives the generator, which single values of a sampler are checked against.
    """
    values = {name: getattr(args, name) for name in SAMPLER_VALUES}
    named = {name: value for name, value in values.items() if value is not None}
    return model().sampler(args.sampler, **named) if named else args.sampler


def control_of(args: argparse.Namespace) -> Any:
    """Return the constraints of the options.

    Raises:
        ValueError: If the template cannot be read, or sites are named without one.
    """
    from pyg_crysdiff.sampling import Control, Template  # noqa: PLC0415

    template = None
    if args.template is not None:
        keep: Any = _list(args.keep)
        template = Template(_first_crystal(args.template), _sites(args.keep_sites), keep)
    elif args.keep_sites is not None:
        raise ValueError("--keep-sites belongs to a --template")
    return Control(
        formulas=tuple(args.formula),
        chemical_system=args.chemical_system,
        allowed=_list(args.allow),
        forbidden=_list(args.forbid),
        required=_list(args.require),
        charge_neutral=args.charge_neutral,
        num_elements=args.num_elements,
        template=template,
    )


def _first_crystal(path: Path) -> Crystal:
    """Read a template: its atoms stay in the order of the file, by which sites are counted.

    Raises:
        ValueError: If it cannot be read.
    """
    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.data.formats.cif import cif_crystal  # noqa: PLC0415
    from pyg_crysdiff.data.streams import stream_entries  # noqa: PLC0415
    from pyg_crysdiff.storage import user_path  # noqa: PLC0415

    crystal = read_samples(path)[0]
    if not isinstance(crystal, Crystal):
        raise ValueError(f"cannot read the template {path}: {crystal.reason}")
    if path.suffix.lower() in (".pt", ".pth") and not path.is_dir():
        return crystal
    entry = next(stream_entries(user_path(path)))
    if entry.fmt != "cif":
        return crystal
    with warnings.catch_warnings():  # read_samples has said them
        warnings.simplefilter("ignore")
        return cif_crystal(entry.text, as_listed=True)  # sorted where crystals are compared


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _sites(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sites: list[int] = []
    try:
        for part in _list(text):
            low, dash, high = part.partition("-")
            some = range(int(low), int(high) + 1) if dash else [int(low)]
            if not some:
                raise ValueError("a range that ends before it starts")
            sites += some
    except ValueError:
        sites = []
    if not sites:
        raise ValueError(
            f"--keep-sites must look like 0-3,7 (the lower number first), got {text!r}"
        )
    return tuple(sites)


def target_of(given: list[str] | None) -> Any:
    """Return the target that texts name; that of the training minimum where there are none.

    Raises:
        ValueError: If a text is no target.
    """
    if given is None:
        return "min"
    if given == ["none"]:
        return None
    if len(given) == 1 and given[0].partition(":")[0] in ("min", "max"):
        return given[0]
    out: dict[str, float | tuple[float, float]] = {}
    for pair in given:
        name, _, text = pair.rpartition("=")
        try:
            values = [finite(part) for part in text.split(":")]
        except argparse.ArgumentTypeError:
            values = []
        if len(values) not in (1, 2) or not name:
            raise ValueError(
                f"--target must be NAME=NUMBER, NAME=LOW:HIGH, min, max, min:PERCENT, max:PERCENT "
                f"or none, got {pair!r}"
            )
        if name in out:
            raise ValueError(f"--target names {name!r} twice")
        out[name] = values[0] if len(values) == 1 else (values[0], values[1])
    return out


def num_atoms_of(given: str | None) -> Any:
    """Return the rule for the numbers of atoms that a text names.

    Raises:
        ValueError: If it names none.
    """
    if given is None:
        return None
    if given in ("distribution", "target"):
        return given
    try:
        if ":" in given:
            pairs = (part.split(":") for part in given.split(","))
            return {int(n): float(weight) for n, weight in pairs}
        low, dash, high = given.partition("-")
        return (int(low), int(high)) if dash else int(low)
    except ValueError:
        raise ValueError(
            f"--num-atoms must be a number, a range such as 6-24, weights such as 5:1,10:3, "
            f"'distribution' or 'target', got {given!r}"
        ) from None
