"""Find crystals with wanted properties: draw, choose, evaluate, learn, in rounds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.known import known_crystals
from pyg_crysdiff.cli.numbers import count, finite, not_negative, positive, seed, whole
from pyg_crysdiff.cli.sampling_options import (
    add_control,
    add_sampler,
    control_of,
    num_atoms_of,
    sampler_of,
    target_of,
)

if TYPE_CHECKING:
    from pyg_crysdiff.data import Crystal
    from pyg_crysdiff.design.fine_tune_settings import FineTune
    from pyg_crysdiff.design.settings import DesignSettings

EXAMPLE = """examples:
  crysdiff design --checkpoint perov5-cds --target heat_ref=:0.44 --oracle lookup:perov5:val,test \\
      --data perov5 --budget 250 --out runs/perov
  crysdiff design --checkpoint mp20-cdi --target e_above_hull=:0.1 --oracle chgnet:hull.json \\
      --known known.sqlite --budget 400 --out runs/stable
  crysdiff design --checkpoint mine.ckpt --data measured.csv --target band_gap=1:2 \\
      --oracle folder:queue --wait 600 --budget 100 --out runs/gap
  crysdiff design --status runs/gap

Everything is kept in OUT/ledger.sqlite as it comes: the same command goes on, a larger --budget
too. OUT/report.html, hits.csv, hits.extxyz and hits/ are written after every round.
"""
_NEEDED = ("checkpoint", "target", "oracle", "budget")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    parser.usage = (
        "crysdiff design --checkpoint MODEL --target NAME=LOW:HIGH --oracle ORACLE --budget N "
        "[options]\n       crysdiff design --status RUN"
    )
    add = parser.add_argument
    add("--checkpoint", help="generator: a file, or the name of one that comes with the package")
    add(
        "--target", action="append", metavar="NAME=LOW:HIGH",
        help="wanted number: NAME=1:2, NAME=:0.44 (at most), NAME=3: (at least), NAME=min or "
        "NAME=max; repeat for several, all must be met",
    )  # fmt: skip
    add(
        "--oracle", action="append", metavar="ORACLE",
        help="who evaluates: lookup:DATA[:PARTS], model:FILE, chgnet[:HULL], sevennet[:HULL], "
        "python:MODULE:FUNCTION, 'command:PROGRAM ARGUMENTS', folder:FOLDER (a queue of jobs); "
        "several are asked in order, a later one gets the relaxed crystal",
    )  # fmt: skip
    add("--budget", type=count, metavar="N", help="evaluations, failed ones too")
    add("--out", type=Path, default=Path("design"), help="output folder (default: design)")
    add("--status", type=Path, metavar="RUN", help="say how far a run is, also while it goes on")
    add("--seed", type=seed, default=0, help="seed (default: 0)")
    _add_known(parser)
    _add_choice(parser)
    _add_oracle(parser)
    _add_request(parser)
    _add_learning(parser)
    add_control(parser)
    add_sampler(parser)
    add_data_options(parser)
    _add_running(parser)


def _add_known(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is known").add_argument
    add(
        "--data", metavar="DATA",
        help="data set (its train part), file or folder with values: the predictor starts from "
        "them, and no candidate is one of them",
    )  # fmt: skip
    add(
        "--known", metavar="DATA",
        help="further crystals that no candidate may be: data set, file, or database (crysdiff "
        "index)",
    )  # fmt: skip
    add(
        "--valid", choices=["structure", "cdvae"], default="structure",
        help="what a candidate must be; cdvae: its composition valid under SMACT too (default: "
        "structure)",
    )  # fmt: skip


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("which crystals are evaluated").add_argument
    add("--batch", type=count, default=50, help="evaluations in a round (default: 50)")
    add("--draws", type=count, default=2000, help="crystals drawn for a round (default: 2000)")
    add(
        "--acquisition", choices=["improvement", "bound", "mean", "random"], default="improvement",
        help="order of the candidates: expected improvement, optimistic bound, predicted value "
        "alone, or as drawn (default: improvement)",
    )  # fmt: skip
    add(
        "--kappa", type=not_negative, default=2.0,
        help="standard deviations of the bound (default: 2)",
    )  # fmt: skip
    add(
        "--per-composition", type=whole, default=1,
        help="most chosen of one reduced formula in the whole run; 0: any number (default: 1)",
    )  # fmt: skip
    add(
        "--per-prototype", type=whole, default=0,
        help="most chosen of one prototype in a round; 0: any number (default: 0)",
    )  # fmt: skip
    add(
        "--element-growth", type=not_negative, default=0,
        help="most that an element's share of a round may be, in multiples of its share in --data; "
        "0: any (default: 0)",
    )  # fmt: skip


def _add_oracle(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("evaluations").add_argument
    add(
        "--wait", type=positive, metavar="SECONDS",
        help="look again every so many seconds for results that are awaited (default: leave off)",
    )  # fmt: skip
    add(
        "--timeout", type=positive, default=3600.0, metavar="SECONDS",
        help="most seconds of a function or program for a crystal (default: 3600)",
    )  # fmt: skip


def _add_request(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how the generator is asked").add_argument
    add(
        "--request", action="append", metavar="TARGET",
        help="as --target of crysdiff sample: min, min:5, none, NAME=VALUE or NAME=LOW:HIGH, "
        "several joined by commas; requests are shared out evenly (default: by the targets)",
    )  # fmt: skip
    add("--num-atoms", help="as in crysdiff sample (default: the checkpoint's card)")
    add(
        "--guidance", type=finite,
        help="scale of classifier-free guidance (default: the checkpoint's card, else 1)",
    )  # fmt: skip
    add("--extrapolate", action="store_true", help="allow --request beyond the training range")


def _add_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("the generator learns").add_argument(
        "--fine-tune", nargs="*", metavar="NAME=VALUE",
        help="train the generator on what was found, with --data again so that it forgets nothing; "
        "the new one is taken if held-out crystals say that it is better. Names: steps, share, lr, "
        "every and others of FineTune",
    )  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("running").add_argument
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add("--workers", type=whole, help="processes, on the CPU (default: all cores)")
    add(
        "--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"],
        help="precision of the generator (default: auto, bf16 where the device is fast in it)",
    )  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")


def run(args: argparse.Namespace) -> None:
    """Design, or say how far a run is."""
    if args.status is not None:
        _say_status(args.status)
        return
    if missing := [name for name in _NEEDED if getattr(args, name) is None]:
        raise ValueError(
            f"crysdiff design needs {', '.join(f'--{name}' for name in missing)}; or --status RUN"
        )
    from pyg_crysdiff.design import design, read_objectives  # noqa: PLC0415
    from pyg_crysdiff.design.oracles import find_oracle  # noqa: PLC0415
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415

    objectives = read_objectives(args.target)
    settings, control = _settings(args), control_of(args)
    oracle = find_oracle(
        args.oracle,
        [objective.name for objective in objectives],
        timeout=args.timeout,
        folder=args.out / "oracle",
        num_workers=args.workers,
        device=str(choose_device(args.device)),
        data=data_options(args),
    )
    data = _labelled(args.data, data_options(args))
    found = design(
        args.checkpoint,
        objectives,
        oracle,
        args.budget,
        args.out,
        settings=settings,
        data=data,
        known=known_crystals(args.known, data_options(args)) or None,
        control=control,
        trusted=args.trust,
        wait=args.wait,
        say=say,
        progress=True,
    )
    say(
        f"{len(found.hits)} hits of {len(found.evaluated)} evaluations in {args.out}: report.html, "
        "hits.csv, hits.extxyz, hits/"
    )


def _say_status(run: Path) -> None:
    from pyg_crysdiff.design.ledger import Ledger  # noqa: PLC0415
    from pyg_crysdiff.design.outcome import status_lines  # noqa: PLC0415

    for line in status_lines(Ledger(run)):
        say(line)


def _settings(args: argparse.Namespace) -> DesignSettings:
    """Return the settings of the options; 0 of a cap is none."""
    from pyg_crysdiff.design.choosing import Caps  # noqa: PLC0415
    from pyg_crysdiff.design.drawing import Request  # noqa: PLC0415
    from pyg_crysdiff.design.settings import DesignSettings  # noqa: PLC0415

    if args.extrapolate and not args.request:
        raise ValueError("--extrapolate belongs to a --request")
    requests = [
        Request(target_of(text.split(",")), extrapolate=args.extrapolate)
        for text in args.request or ()
    ]
    return DesignSettings(
        batch=args.batch,
        draws=args.draws,
        acquisition=args.acquisition,
        kappa=args.kappa,
        caps=Caps(
            args.per_composition or None, args.per_prototype or None, args.element_growth or None
        ),
        fine_tune=_fine_tune(args.fine_tune),
        requests=tuple(requests) or None,
        guidance=args.guidance,
        num_atoms=num_atoms_of(args.num_atoms),
        sampler=_sampler(args),
        valid=args.valid,
        seed=args.seed,
        device=args.device,
        precision=args.precision,
        workers=args.workers,
    )


def _sampler(args: argparse.Namespace) -> Any:
    from pyg_crysdiff.models import load_checkpoint  # noqa: PLC0415

    return sampler_of(args, lambda: load_checkpoint(args.checkpoint, "cpu", args.trust).model)


def _fine_tune(given: Sequence[str] | None) -> FineTune | None:
    """Return how the generator learns, of ``NAME=VALUE``; None where it does not."""
    if given is None:
        return None
    from pyg_crysdiff.design.fine_tune_settings import FineTune  # noqa: PLC0415

    kinds: dict[str, Any] = {one.name: type(one.default) for one in fields(FineTune)}
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            values[name] = kinds[name](value)
        except (KeyError, ValueError):
            raise ValueError(
                f"--fine-tune takes NAME=NUMBER with a name of {', '.join(kinds)}, got {text!r}"
            ) from None
    return FineTune(**values)


def _labelled(name: str | None, options: dict[str, Any]) -> list[Crystal]:
    """Return the crystals of a data set with their values: train, where there are parts."""
    from pyg_crysdiff.data import load_dataset  # noqa: PLC0415  (imports PyG)
    from pyg_crysdiff.data.names import DATASET_NAMES  # noqa: PLC0415
    from pyg_crysdiff.data.splits import split_files  # noqa: PLC0415
    from pyg_crysdiff.storage import user_path  # noqa: PLC0415

    if name is None:
        return []
    if name in DATASET_NAMES:
        return load_dataset(name, "train", **options).crystals()
    if not user_path(name).exists():
        names = ", ".join(DATASET_NAMES)
        raise FileNotFoundError(f"--data {name}: neither a data set ({names}) nor a file")
    return load_dataset(name, "train" if split_files(user_path(name)) else "all").crystals()
