"""Find crystals with wanted properties: draw, choose, evaluate, learn, in rounds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli import design_options
from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.known import known_crystals
from pyg_crysdiff.cli.numbers import count, seed
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
    from pyg_crysdiff.property.model import PropertyModel

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
        "python:MODULE:FUNCTION, 'command:PROGRAM ARGUMENTS', or folder:FOLDER, which writes a "
        "folder for each crystal and reads result.json from it (see docs/design.md); several are "
        "asked in order, a later one gets the relaxed crystal",
    )  # fmt: skip
    add("--budget", type=count, metavar="N", help="evaluations, failed ones too")
    add("--out", type=Path, default=Path("design"), help="output folder (default: design)")
    add("--status", type=Path, metavar="RUN", help="say how far a run is, also while it goes on")
    add("--seed", type=seed, default=0, help="seed (default: 0)")
    design_options.add_known(parser)
    design_options.add_choice(parser)
    design_options.add_oracle(parser)
    design_options.add_request(parser)
    design_options.add_learning(parser)
    add_control(parser)
    add_sampler(parser)
    add_data_options(parser)
    design_options.add_running(parser)


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
        predictors=_predictors(args),
        trusted=args.trust,
        wait=args.wait,
        about=_about(args),
        say=say,
        progress=True,
    )
    say(
        f"{len(found.hits)} hits of {len(found.evaluated)} evaluations in {args.out}: report.html, "
        "hits.csv, hits.extxyz, hits/"
    )


def _predictors(args: argparse.Namespace) -> list[PropertyModel]:
    if not args.predictor:
        return []
    from pyg_crysdiff.data import DATASETS  # noqa: PLC0415
    from pyg_crysdiff.design.given import load_predictors  # noqa: PLC0415
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415

    return load_predictors(args.predictor, DATASETS.get(args.data), choose_device(args.device))


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the report calls things by."""
    from pyg_crysdiff import __version__  # noqa: PLC0415

    named = {name: getattr(args, name) for name in ("checkpoint", "data", "known")}
    named["predictor"] = ", ".join(args.predictor) or None
    found = {name: str(value) for name, value in named.items() if value is not None}
    versions = f"pyg_crysdiff {__version__}"
    return {**found, "command": " ".join(["crysdiff", *sys.argv[1:]]), "versions": versions}


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
        known_within=args.known_within,
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
