"""Generate crystals from a checkpoint; written as they come, resumed by the same command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import (
    count,
    finite,
    positive,
    seed,
    share,
    whole,
    whole_range,
)
from pyg_crysdiff.cli.samples import read_samples
from pyg_crysdiff.cli.shards import parse_shard

EXAMPLE = """examples:
  crysdiff sample --checkpoint carbon24-cds -n 20 --out samples
  crysdiff sample --checkpoint runs/demo/last.ckpt -n 100 --target min --out samples
  crysdiff sample --checkpoint c.ckpt -n 50 --target energy_per_atom=-154.5 --num-atoms 6-12
  crysdiff sample --checkpoint c.ckpt -n 50 --formula Ti2O4 --symmetrise 0.1
  crysdiff sample --checkpoint c.ckpt -n 50 --chemical-system Li-Fe-O --charge-neutral
  crysdiff sample --checkpoint c.ckpt -n 50 --template host.cif --keep-sites 0-3 --keep coordinates
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    add = parser.add_argument
    add(
        "--checkpoint", required=True,
        help="file written in training or by crysdiff export, or the name of one that comes with "
        "the package (crysdiff info lists them)",
    )  # fmt: skip
    add("-n", "--num-samples", type=count, default=100, help="crystals (default: 100)")
    add(
        "--target", action="append", metavar="NAME=VALUE",
        help="wanted property (repeat for several) or interval NAME=LOW:HIGH; 'min' (training "
        "minimum, default), 'min:5' (anywhere in the lowest 5 %% of it), 'max', 'max:5' or 'none'",
    )  # fmt: skip
    add("--out", type=Path, default=Path("samples"), help="output folder (default: samples)")
    add("--seed", type=seed, default=0, help="seed (default: 0)")
    _add_request(parser)
    _add_control(parser)
    _add_sampler(parser)
    _add_running(parser)


def _add_request(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is asked for").add_argument
    add(
        "--num-atoms",
        help="8, 6-24, weights 5:1,10:3, 'distribution' (that of the training set) or 'target' "
        "(that of training crystals near the target) (default: the checkpoint's card, else "
        "distribution)",
    )  # fmt: skip
    add(
        "--guidance", type=finite,
        help="scale of classifier-free guidance; 1 = none (default: the checkpoint's card, else 1)",
    )  # fmt: skip
    add("--extrapolate", action="store_true", help="allow targets beyond the training range")
    add(
        "--symmetrise", type=positive, nargs="?", const=0.1, metavar="SYMPREC",
        help="also write idealised copies with their space groups (default tolerance 0.1 A)",
    )  # fmt: skip


def _add_sampler(parser: argparse.ArgumentParser) -> None:
    """Declare the sampler: a preset, or single values that replace a preset's."""
    add = parser.add_argument_group(
        "sampler",
        "Default: the checkpoint's card, else fast. A sampler that you name is taken whole:\n"
        "what the options leave open comes from the preset, never from the card.",
    ).add_argument
    add(
        "--sampler", choices=["fast", "paper"],
        help="paper: all steps with a Langevin move each; fast: nearly as good from a tenth of the "
        "network calls (default for the options below: paper with --solver ancestral, else fast)",
    )  # fmt: skip
    add(
        "--solver", choices=["ancestral", "renewing", "flow"],
        help="renewing: adds the noise of the coordinates anew in every step; flow: follows the "
        "probability flow",
    )  # fmt: skip
    add("--steps", type=count, help="reverse steps")
    add("--spacing", choices=["uniform", "edm", "focused"], help="times of the steps")
    add("--corrector-steps", type=whole, help="moves of the coordinates at fixed time per step")
    add(
        "--renewal", type=share,
        help="share of the noise that a corrector move replaces, e.g. 0.7; 0 = Langevin (DiffCSP)",
    )  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("running").add_argument
    add("--batch-size", type=count, help="crystals per batch (default: bounded by the memory)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add(
        "--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"],
        help="precision of the network (default: auto, bf16 where the device is fast in it)",
    )  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")
    add(
        "--shard", metavar="K/N",
        help="generate only part K (from 0) of N, for several processes or machines that share "
        "--out; the same command without --shard collects them",
    )  # fmt: skip


def _add_control(parser: argparse.ArgumentParser) -> None:
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
    add("--keep-sites", metavar="0-3,7", help="sites of the template, from 0 (default: all)")
    add(
        "--keep", default="coordinates,species,lattice",
        help="what of the template is kept (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Sample, and say with which sampler and where the files are."""
    from pyg_crysdiff.models import load_checkpoint  # noqa: PLC0415
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415
    from pyg_crysdiff.sampling import sample, write_symmetrised  # noqa: PLC0415
    from pyg_crysdiff.sampling.choice import choose  # noqa: PLC0415

    target, control = _target(args.target), _control(args)
    shard = None if args.shard is None else parse_shard(args.shard)
    num_atoms = None if args.num_atoms is None else _num_atoms(args.num_atoms)
    model = load_checkpoint(args.checkpoint, choose_device(args.device), args.trust)
    sampler = _sampler(args, model.model)
    say(f"sampler: {choose(model, sampler)}")
    crystals = sample(
        model,
        args.num_samples,
        target=target,
        num_atoms=num_atoms,
        control=control,
        seed=args.seed,
        sampler=sampler,
        guidance=args.guidance,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
        out=args.out,
        shard=shard,
        extrapolate=args.extrapolate,
    )
    if args.shard is not None:
        say(f"part {args.shard}: {len(crystals)} crystals in {args.out}/parts")
        return
    say(f"{len(crystals)} crystals in {args.out}: samples.extxyz, samples.pt, cif/")
    if args.symmetrise is not None:
        copies = write_symmetrised(crystals, args.out, args.symmetrise)
        higher = sum(c.info["space_group_number"] > 1 for c in copies)
        say(f"{higher} of them have symmetry: symmetrised.extxyz, symmetrised/")


def _sampler(args: argparse.Namespace, model: Any) -> Any:
    """Return the sampler of the options: a preset alone by its name, None where none is given."""
    names = ("solver", "steps", "spacing", "corrector_steps", "renewal")
    named = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return model.sampler(args.sampler, **named) if named else args.sampler


def _control(args: argparse.Namespace) -> Any:
    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.sampling import Control, Template  # noqa: PLC0415

    template = None
    if args.template is not None:
        crystal = read_samples(args.template)[0]
        if not isinstance(crystal, Crystal):
            raise ValueError(f"cannot read the template {args.template}: {crystal.reason}")
        keep: Any = _list(args.keep)
        template = Template(crystal, _sites(args.keep_sites), keep)
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


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _sites(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sites: list[int] = []
    try:
        for part in _list(text):
            low, dash, high = part.partition("-")
            sites += range(int(low), int(high) + 1) if dash else [int(low)]
    except ValueError:
        raise ValueError(f"--keep-sites must look like 0-3,7, got {text!r}") from None
    return tuple(sites)


def _target(given: list[str] | None) -> Any:
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


def _num_atoms(given: str) -> Any:
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
