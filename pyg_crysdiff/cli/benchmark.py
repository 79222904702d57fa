"""Train, generate towards a property, score, compare with published methods."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.cli import benchmark_design, benchmark_sun
from pyg_crysdiff.cli.benchmark_sampler import add_sampler, named_samplers
from pyg_crysdiff.cli.ending import ending, say
from pyg_crysdiff.cli.lists import counts, named, names, numbers
from pyg_crysdiff.cli.numbers import (
    count,
    finite,
    not_negative,
    positive,
    seed,
    whole,
    whole_range,
)
from pyg_crysdiff.structrepdiff.search import SEARCHES

if TYPE_CHECKING:
    from pyg_crysdiff.benchmark.settings import Settings
    from pyg_crysdiff.evaluation.results import Results

_TASKS = {
    "optimisation": "benchmark",
    "reconstruction": "reconstruction",
    "prediction": "prediction",
    "requests": "requests",
    "sun": "sun",
    "design": "design-benchmark",
}
_FILES = {"reconstruction": "match_rate.png", "prediction": "tables"}
_USAGE = (
    "crysdiff benchmark [--dataset SET] [--models NAMES] [--budget MINUTES] [--num-samples N] "
    "[--out DIR] [option ...]"
)
EXAMPLE = """examples:
  crysdiff benchmark
  crysdiff benchmark --dataset carbon24 --data-root DATA --split val-as-train --budget 30
  crysdiff benchmark --dataset perov5 --samples mine=samples.extxyz --models cds
  crysdiff benchmark --dataset carbon24 --models cds,structrepdiff-mlp-cds
  crysdiff benchmark --task reconstruction --dataset carbon24 --num-samples 200
  crysdiff benchmark --task prediction --dataset perov5 --models cds --candidates 20 --relax chgnet
  crysdiff benchmark --task sun --dataset mp20 --samples diffcsp=FILE --checkpoint cdi=mp20-cdi
  crysdiff benchmark --task design --dataset perov5 --models cds --start 2000 --above 0.15
  crysdiff benchmark --task requests --dataset perov5 --checkpoint cds=perov5-cds --models ""
  crysdiff benchmark --dataset perov5 --baseline cdvae=CHECKOUT --baseline symat=CHECKOUT
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command ``crysdiff benchmark``; kept for ``benchmarks/run.py``."""
    from pyg_crysdiff.cli.command import main as command  # noqa: PLC0415

    command(["benchmark", *(sys.argv[1:] if arguments is None else arguments)])


def run(args: argparse.Namespace) -> None:
    """Run the benchmark, and show its table."""
    with ending(args.debug, also=(RuntimeError,)):  # a peer's code that fails
        settings = _settings(args)
        results = _task(args)(settings, lambda line: say(f"== {line}"))
        if results is not None:
            _report(results, args.task, settings)


def _task(args: argparse.Namespace) -> Callable[..., Results | None]:
    if args.task == "sun":
        return partial(benchmark_sun.run, args)
    if args.task == "design":
        return partial(benchmark_design.run, args)
    from pyg_crysdiff.benchmark.optimisation import run_benchmark  # noqa: PLC0415
    from pyg_crysdiff.benchmark.prediction import run_prediction  # noqa: PLC0415
    from pyg_crysdiff.benchmark.reconstruction import run_reconstruction  # noqa: PLC0415
    from pyg_crysdiff.benchmark.target_sweep import run_requests  # noqa: PLC0415

    return {
        "optimisation": run_benchmark,
        "reconstruction": run_reconstruction,
        "prediction": run_prediction,
        "requests": run_requests,
    }[args.task]


def _report(results: Results, task: str, settings: Settings) -> None:
    from pyg_crysdiff.benchmark.table import text_table  # noqa: PLC0415

    seconds = results.settings["seconds"]
    files = _FILES.get(task, "report.html")
    say(f"\n{text_table(results)}\n")
    say(f"{seconds:.0f} s; results.json, {files} and samples are in {settings.out}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    parser.usage = _USAGE
    add = parser.add_argument
    add("--dataset", default="demo", help="demo, carbon24, perov5, mp20, or a CSV file or folder")
    add(
        "--models",
        help="conditioners, comma-separated, 'structrepdiff-', 'structrepdiff-mlp-' or "
        "'structrepdiff-paper-' before them for that family; "
        "'' for none (default: as in configs/benchmark.yaml, at least cdi,cds)",
    )  # fmt: skip
    add("--budget", type=positive, metavar="MINUTES", help="training time per model")
    add("--num-samples", type=count, metavar="N", help="crystals per row")
    add("--out", type=Path, metavar="DIR", help="output; an interrupted run goes on from it")
    for declare in (_data, _others, _training, add_sampler, _request, _choice, _judge, _tasks):
        declare(parser)
    benchmark_sun.add_arguments(parser)
    benchmark_design.add_arguments(parser)


def _data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data-root", type=Path, help="folder that already holds the files of a published set")
    add("--split", choices=["official", "val-as-train"], help="split of a published set")
    add("--properties", help="own data: property columns, comma-separated; the first is optimised")


def _others(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("other rows of the table").add_argument
    add("--samples", action="append", default=[], metavar="NAME=FILE", help="score these samples")
    add(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="sample from these; also NAME=carbon24-cds and others that come with the package",
    )
    add(
        "--baseline", action="append", default=[], metavar="NAME=PATH",
        help="cdvae, symat, diffcsp, ...: a sample file or output folder of theirs, or (cdvae, "
        "symat, diffcsp) a checkout, which is trained and sampled here",
    )  # fmt: skip
    add(
        "--baseline-steps", type=counts, metavar="[NAME=]N", default={},
        help="sampler of live peers, comma-separated: Langevin steps per noise level (cdvae, "
        "symat; default: 100), all steps, in training too (diffcsp; default: 1000)",
    )  # fmt: skip


def _training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override of train.yaml")
    add("--seed", type=seed, default=0, help="seed of training and sampling (default: 0)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def _request(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is asked of the models").add_argument
    add("--target", type=finite, help="requested property (default: the training minimum)")
    add(
        "--request", action="append", metavar="min[:PERCENT]",
        help="what is asked of the generator, a row each, several with commas or by repetition: "
        "the training minimum, values anywhere in the lowest PERCENT of the training set; also "
        "max[:PERCENT]",
    )  # fmt: skip
    add(
        "--paper-sampler", action="store_true", default=None,
        help="a further row for the minimum: all steps with a corrector move each, guidance 1, no "
        "constraints",
    )  # fmt: skip
    add("--guidance", type=finite, help="scale of classifier-free guidance; 1 = none")
    add("--num-atoms", choices=["distribution", "target"], help="sizes: p(N) or p(N | target)")
    add(
        "--num-elements", type=whole_range, metavar="2-3",
        help="number of different elements of conditional samples",
    )  # fmt: skip
    add(
        "--charge-neutral", action=argparse.BooleanOptionalAction,
        help="conditional samples are charge neutral by construction",
    )  # fmt: skip
    add(
        "--num-unconditional", type=whole, metavar="N",
        help="crystals of the row without a condition, 0 for no such row; published coverage "
        "counts 10,000 (default: as --num-samples where that is given, else as in "
        "configs/benchmark.yaml)",
    )  # fmt: skip


def _choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("crystals chosen of several draws").add_argument
    add(
        "--draws", type=count, metavar="K",
        help="a further row of the last request: crystals chosen of K times as many, by a "
        "predictor trained on the training set",
    )  # fmt: skip
    add(
        "--symmetrise", type=not_negative, metavar="SYMPREC",
        help="move these candidates to the positions of their space groups first, within SYMPREC "
        "Angstrom; 0 = as drawn",
    )  # fmt: skip
    add("--copies", type=whole, help="how often one structure may be chosen; 0 = any number")
    add("--predictor", help="preset or file of that predictor")
    add("--predictor-budget", type=positive, metavar="MINUTES", help="its training time")


def _judge(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("scoring").add_argument
    add(
        "--evaluator",
        help="cdvae: CDVAE's own evaluator, for perov5, carbon24 and mp20 (default there; "
        "downloaded once); a preset that is trained on the test split: fast, standard, large "
        "(default: standard); a file of an evaluator, CDVAE's wheel or prop_models folder",
    )
    add("--evaluator-budget", type=positive, metavar="MINUTES", help="its training time")
    add(
        "--lookup", choices=["auto", "none"],
        help="auto: look samples up among the known crystals of a set that is a whole space",
    )  # fmt: skip
    add("--no-coverage", action="store_true", help="leave out COV and AMSD")


def _tasks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("other tasks").add_argument
    add(
        "--task", default="optimisation", choices=list(_TASKS),
        help="reconstruction: test crystals from their StructRepDiff representations; "
        "prediction: structures of test compositions; requests: requested versus achieved over "
        "the whole range, at several strengths of guidance; sun: stable, unique, novel crystals of "
        "sample files and models; design: hits against evaluations (default: optimisation)",
    )  # fmt: skip
    add(
        "--search", choices=SEARCHES,
        help="reconstruction: how coordinates are searched; also for StructRepDiff models that are "
        "trained here",
    )  # fmt: skip
    add("--descriptor", help="reconstruction: graded, compact or paper")
    add("--candidates", type=count, help="prediction: structures per composition")
    add(
        "--relax", metavar="JUDGE",
        help="prediction: further rows with the candidates after relaxation by chgnet, sevennet, "
        "ase:module.Class or torchsim:NAME; none (default)",
    )  # fmt: skip
    add("--relax-steps", type=count, help="prediction: most steps of a relaxation")
    add("--guidances", type=numbers, help="requests: scales to go through, comma-separated")


def _steps_of_peers(args: argparse.Namespace) -> dict[str, int]:
    given, peers = args.baseline_steps, [name for name, _ in named(args.baseline)]
    for name in given:
        if name not in peers and (name or not peers):
            which = f"{name}=" if name else "alone"
            raise ValueError(f"--baseline-steps {which}: it needs --baseline {name or 'NAME'}=PATH")
    return {name: given[key] for name in peers for key in ("", name) if key in given}


def _settings(args: argparse.Namespace) -> Settings:
    from pyg_crysdiff.benchmark.settings import Settings  # noqa: PLC0415
    from pyg_crysdiff.models.pretrained import find_checkpoint  # noqa: PLC0415

    sun = args.task == "sun"
    ready = sun or (args.task == "design" and args.checkpoint)
    return Settings.resolve(
        args.dataset,
        out=args.out or Path("runs") / f"{_TASKS[args.task]}-{Path(args.dataset).stem}",
        data_root=args.data_root,
        split=args.split,
        properties=tuple(args.properties.split(",")) if args.properties else None,
        models=() if ready and args.models is None else names(args.models),
        samples=named(args.samples),
        checkpoints=named(args.checkpoint, find_checkpoint),
        baselines=named(args.baseline),
        baseline_steps=_steps_of_peers(args),
        budget_minutes=args.budget,
        num_samples=args.num_samples or (benchmark_sun.NUM_SAMPLES if sun else None),
        num_unconditional=args.num_unconditional,
        **named_samplers(args),
        guidance=args.guidance,
        guidances=args.guidances,
        num_atoms=args.num_atoms,
        target=args.target,
        requests=None if args.request is None else names(",".join(args.request)),
        paper_row=args.paper_sampler,
        draws=args.draws,
        copies=args.copies,
        symmetrise=args.symmetrise,
        charge_neutral=args.charge_neutral,
        num_elements=args.num_elements,
        predictor=args.predictor,
        predictor_minutes=args.predictor_budget,
        evaluator=args.evaluator,
        evaluator_minutes=args.evaluator_budget,
        lookup=args.lookup,
        search=args.search,
        structrepdiff_search=args.search,
        descriptor=args.descriptor,
        candidates=args.candidates,
        relax=args.relax,
        relax_steps=args.relax_steps,
        coverage=not args.no_coverage,
        overrides=tuple(args.set),
        seed=args.seed,
        device=args.device,
    )
