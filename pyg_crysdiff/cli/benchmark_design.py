"""Options of ``crysdiff benchmark --task design``, hits against evaluations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.cli.lists import names
from pyg_crysdiff.cli.numbers import count, positive, share, whole

if TYPE_CHECKING:
    from pyg_crysdiff.benchmark.settings import Settings
    from pyg_crysdiff.evaluation.results import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    add = parser.add_argument_group("hits against evaluations (--task design)").add_argument
    add(
        "--wanted", action="append", metavar="NAME=LOW:HIGH",
        help="as --target of crysdiff design; repeated (default: at or below the limit of SR5)",
    )  # fmt: skip
    add(
        "--oracle", action="append", default=[],
        help="as in crysdiff design; repeated (default: look-up in all parts of the data set)",
    )  # fmt: skip
    add("--evaluations", type=count, default=500, help="of each method (default: 500)")
    add("--batch", type=count, default=50, help="evaluations in a round of a loop (default: 50)")
    add(
        "--round-draws", type=count, default=1000, metavar="N",
        help="crystals drawn for a round; methods of one round draw as many in all (default: 1000)",
    )  # fmt: skip
    add("--seeds", type=count, default=3, help="repetitions, from --seed on (default: 3)")
    add(
        "--start", type=count, metavar="N",
        help="training crystals that are known at the start (default: all)",
    )  # fmt: skip
    add(
        "--above", type=share, default=0.0, metavar="SHARE",
        help="they have values above this point of the training set, 0.15 say (default: 0)",
    )  # fmt: skip
    add(
        "--methods", metavar="NAMES",
        help="comma-separated, of: random known-like, unconditional, conditional, chosen, loop, "
        "learning loop; and for single parts: mean loop, bound loop, braked loop, unchosen "
        "learning loop (default: the first six)",
    )  # fmt: skip
    add(
        "--known-within", type=positive, metavar="STOL", help="as in crysdiff design (default: 0.3)"
    )
    add(
        "--given-predictor", action="append", default=[], metavar="MODEL",
        help="as --predictor of crysdiff design; repeated",
    )  # fmt: skip
    add(
        "--per-composition", type=whole, default=1,
        help="most chosen of one reduced formula; 0: any number (default: 1)",
    )  # fmt: skip
    add(
        "--brake", action="store_true",
        help="in all rounds that choose no element has more than twice its share in the data",
    )  # fmt: skip
    add("--allow-elements", default="", metavar="EL,EL", help="draws hold no other elements")


def run(args: argparse.Namespace, settings: Settings, say: Callable[[str], None]) -> Results:
    """Run the benchmark."""
    from pyg_crysdiff.benchmark.design import run_design  # noqa: PLC0415
    from pyg_crysdiff.benchmark.design_task import METHODS, DesignTask  # noqa: PLC0415
    from pyg_crysdiff.design import read_objectives  # noqa: PLC0415
    from pyg_crysdiff.sampling import Control  # noqa: PLC0415

    allowed = tuple(part.strip() for part in args.allow_elements.split(",") if part.strip())
    task = DesignTask(
        objectives=read_objectives(args.wanted) if args.wanted else (),
        oracles=tuple(args.oracle),
        budget=args.evaluations,
        batch=args.batch,
        draws=args.round_draws,
        methods=names(args.methods) or METHODS,
        seeds=args.seeds,
        start=args.start,
        above=args.above,
        guidance=1.5 if args.guidance is None else args.guidance,
        brake=args.brake,
        per_composition=args.per_composition or None,
        control=Control(allowed=allowed) if allowed else None,
        known=_database(args.known),
        known_within=args.known_within,
        predictors=tuple(args.given_predictor),
    )
    return run_design(settings, task, say)


def _database(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"--known {path}: there is no such database")
    return path
