"""Score sample files of any model against a reference set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.earlier import put_aside
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import count, finite, positive, seed, whole
from pyg_crysdiff.cli.references import (
    judge_card,
    named_evaluator,
    part_or_file,
    published_limits,
    published_set,
    split_of,
)
from pyg_crysdiff.cli.samples import NamedFile, named_files, read_samples, with_values
from pyg_crysdiff.cli.stability import (
    add_stability,
    judge_lines,
    protocols_of,
    relax_part,
    stability_of,
)

if TYPE_CHECKING:
    from pyg_crysdiff.evaluation.harness import Protocol

EXAMPLE = """examples:
  crysdiff evaluate samples.pt --reference carbon24 --data-root DATA --out scores
  crysdiff evaluate a.extxyz b.zip --reference my_test.csv --train my_train.csv
  crysdiff evaluate samples.extxyz --known known.sqlite
  crysdiff evaluate samples.pt --lookup perov5 --data-root DATA
  crysdiff evaluate samples.pt --train mp20 --data-root DATA --judge chgnet --hull hull.json.gz
  crysdiff evaluate recon.pt --reference truth.extxyz --task reconstruction
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help=".pt, extxyz, CIF, zip, tar, CSV, JSON, folder")
    add("--reference", help="data set or split folder (its test part, or DATA:PART), or a file")
    add("--train", help="the same (its train part), for novelty and percentiles")
    add(
        "--evaluator",
        help="cdvae: CDVAE's own evaluator of the data set of --reference or --train (downloaded "
        "once; cdvae:perov5 names the set); an evaluator file; or CDVAE's wheel or prop_models "
        "folder",
    )
    add(
        "--known", type=Path, metavar="DATABASE",
        help="database of known crystals (crysdiff index), for novelty against all of them",
    )  # fmt: skip
    add(
        "--lookup", metavar="SET",
        help="data set (all its parts) or file of known crystals: known values of the property "
        "beside the predicted ones, and how many different hits were found",
    )  # fmt: skip
    add(
        "--out", type=Path, default=Path("scores"),
        help="folder of results.json and a table per file (default: scores)",
    )  # fmt: skip
    _add_metrics(parser)
    add_stability(parser)
    add_data_options(parser)
    add = parser.add_argument_group("running").add_argument
    add("--bootstrap", type=whole, default=1000, help="resamples for the intervals; 0 for none")
    add("--workers", type=whole, help="processes (default: all cores)")
    add("--seed", type=seed, default=0, help="seed (default: 0)")


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is measured").add_argument
    add(
        "--task", default="generation", choices=["generation", "reconstruction", "optimisation"],
        help="default: generation",
    )  # fmt: skip
    add("--target", type=finite, help="requested property value")
    add(
        "--interval", nargs=2, type=finite, metavar=("LEAST", "MOST"),
        help="values on target, for stable, unique, novel crystals on target (default: at or below "
        "the limit of SR5)",
    )  # fmt: skip
    add(
        "--starts", type=count, metavar="N",
        help="the samples are ten candidates of each of N starts, in the order in which CDVAE's "
        "script saves them; adds the best-of-ten rates (default: independent, no such rates)",
    )  # fmt: skip
    add(
        "--cutoffs", nargs=2, type=positive, metavar=("STRUCTURE", "COMPOSITION"),
        help="cut-offs of COV (default: those of the reference data set)",
    )  # fmt: skip
    add(
        "--genbench", action="store_true",
        help="GenBench's families: charge, distances, plausibility, diversity, HHI, JSD, MMD",
    )  # fmt: skip
    add(
        "--genbench-data", type=Path, metavar="CHECKOUT",
        help="checkout of LeMaterial/lemat-genbench, for its own element data (default: "
        "pymatgen's); implies --genbench",
    )  # fmt: skip
    add(
        "--prototypes", action="store_true", help="compare crystals whatever their elements are too"
    )
    add(
        "--validity", choices=["cdvae", "structure"], default="cdvae",
        help="valid crystals: structure and SMACT neutrality (default), or structure alone",
    )  # fmt: skip
    add("--no-coverage", action="store_true", help="leave out COV and AMSD")


def run(args: argparse.Namespace) -> None:
    """Evaluate every file under one protocol, write and print the results."""
    from pyg_crysdiff.storage import only_writer  # noqa: PLC0415

    files = named_files(args.files)
    with nullcontext() if args.shard else only_writer(args.out):
        protocol, facts = _protocol(args)
        if args.shard is not None:
            relax_part(args, files, protocol)
        else:
            put_aside(args.out, files)
            _score(args, files, protocol, facts)


def _score(
    args: argparse.Namespace, files: Sequence[NamedFile], protocol: Any, facts: dict[str, Any]
) -> None:
    from pyg_crysdiff.evaluation.cache import scored  # noqa: PLC0415
    from pyg_crysdiff.evaluation.results import Results, Row  # noqa: PLC0415

    rows = []
    for file, chosen in zip(files, protocols_of(args, files, protocol), strict=True):
        entries = read_samples(file.path)
        found = scored(args.out / file.stem, entries, chosen)
        details: dict[str, Any] = {"num_samples": len(entries), **found.facts}
        if protocol.num_starts is not None:
            details["num_starts"] = protocol.num_starts
        rows.append(Row(file.name, "measured", file.path, found.metrics, details))
        _show(file.name, len(entries), found)
    Results.of(
        rows,
        dataset=str(args.reference or ""),
        split=facts.pop("split", ""),
        seed=args.seed,
        task=args.task,
        settings=facts,
    ).save(args.out / "results.json")
    say(f"{args.out / 'results.json'}")


def _show(name: str, entries: int, found: Any) -> None:
    lines = [f"{name}: {entries} entries"]
    for key, estimate in found.metrics.items():
        ends = ""
        if estimate.low is not None and estimate.high is not None:
            ends = f"  [{estimate.low:.4f}, {estimate.high:.4f}]"
        lines.append(f"  {key:<24}{estimate.value:10.4f}{ends}")
    lines += [f"  {line}" for line in judge_lines(found.facts)]
    say("\n".join(lines))


def _protocol(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    from pyg_crysdiff.evaluation.harness import Protocol  # noqa: PLC0415
    from pyg_crysdiff.evaluation.hits import lookup_facts  # noqa: PLC0415
    from pyg_crysdiff.evaluation.reference import reference_folder  # noqa: PLC0415

    reference, reference_set = part_or_file(args.reference, "test", args)
    train, train_set = part_or_file(args.train, "train", args)
    known, known_set = _known(args.lookup, args)
    named = published_set((reference_set, train_set, known_set))
    evaluator, card = named_evaluator(args.evaluator, named), None
    if evaluator is not None:
        if args.reference and reference_set is None:
            reference = with_values(reference, args.reference, evaluator.property_name)
        if args.train and train_set is None:
            train = with_values(train, args.train, evaluator.property_name)
        card = judge_card(evaluator, reference)
    cutoffs = dict(reference_set.coverage_cutoffs) if reference_set is not None else {}
    if args.cutoffs:
        cutoffs = {"given": tuple(args.cutoffs)}
    elif args.reference and not cutoffs and not args.no_coverage:
        say(f"COV is left out: no cut-offs are known for {args.reference}; name them (--cutoffs)")
    protocol = Protocol(
        task=args.task,
        reference=reference,
        train=train,
        evaluator=evaluator,
        target=args.target,
        database=args.known,
        prototypes=args.prototypes,
        validity=args.validity,
        lookup=known,
        lookup_property=_lookup_property(known_set, evaluator),
        stability=stability_of(args),
        interval=None if args.interval is None else (args.interval[0], args.interval[1]),
        genbench=_genbench(args),
        num_starts=args.starts,
        thresholds=published_limits(named, evaluator),
        cutoffs={} if args.no_coverage else cutoffs,
        seed=args.seed,
        num_bootstrap=args.bootstrap,
        num_workers=args.workers,
        cache_dir=reference_folder(),
    )
    facts = _facts(args, protocol, card, split_of((reference_set, train_set, known_set)))
    if known_set is not None:
        facts["lookup"] = lookup_facts(protocol, known_set.space_size)
        say(facts["lookup"]["text"])
    return protocol, facts


def _facts(
    args: argparse.Namespace, protocol: Protocol, card: dict[str, Any] | None, split: str
) -> dict[str, Any]:
    """Return what the results say of the references, the judge and the rules."""
    facts = {
        "reference": args.reference,
        "num_reference": len(protocol.reference),
        "train": args.train,
        "num_train": len(protocol.train),
        "split": split,
        "cutoffs": {k: list(v) for k, v in protocol.cutoffs.items()},
        "thresholds": list(protocol.success_thresholds() or ()),
        "evaluator": card,
        "target": args.target,
        "validity": args.validity,
        "stability": protocol.stability and protocol.stability.identity(),
        "genbench": None if protocol.genbench is None else str(protocol.genbench),
    }
    if protocol.database is not None:
        facts["database"] = _database_facts(protocol.database)
    return facts


def _database_facts(path: Path) -> dict[str, Any]:
    from pyg_crysdiff.known import Database  # noqa: PLC0415

    database = Database(path)
    return {"path": str(path), "crystals": len(database), "digest": database.digest()}


def _known(name: str | None, args: argparse.Namespace) -> tuple[dict[str, list[Any]], Any]:
    """Known crystals of the look-up by part, and their data set."""
    if name is None:
        return {}, None
    from pyg_crysdiff.cli.known import known_parts  # noqa: PLC0415

    return known_parts(name, data_options(args))


def _lookup_property(known_set: Any, evaluator: Any) -> str | None:
    """Property of the look-up: what the evaluator predicts, or else that of the known crystals."""
    if known_set is None or evaluator is not None:
        return None
    return str(known_set.property_name)


def _genbench(args: argparse.Namespace) -> Any:
    if not (args.genbench or args.genbench_data):
        return None
    from pyg_crysdiff.evaluation.genbench.settings import GenBench  # noqa: PLC0415

    return GenBench(checkout=args.genbench_data)
