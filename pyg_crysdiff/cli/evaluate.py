"""Score sample files of any model against a reference set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.shards import parse_shard

EXAMPLE = """examples:
  crysdiff evaluate samples.pt --reference carbon24 --data-root DATA --out scores
  crysdiff evaluate a.extxyz b.zip --reference my_test.csv --train my_train.csv
  crysdiff evaluate recon.pt --reference truth.extxyz --task reconstruction
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help=".pt, extxyz, CIF, zip, tar, CSV, JSON, folder")
    add("--reference", help="data set (its test part) or file")
    add("--train", help="data set (its train part) or file, for novelty and percentiles")
    add_data_options(parser)
    add("--task", default="generation", choices=["generation", "reconstruction", "optimisation"])
    add("--evaluator", type=Path, help="evaluator file, or a prop_models folder of CDVAE")
    add("--starts", type=int, help="starts of an optimisation (default: a tenth of the samples)")
    add("--target", type=float, help="requested property value")
    add(
        "--cutoffs", nargs=2, type=float, metavar=("STRUCTURE", "COMPOSITION"),
        help="cut-offs of COV (default: those of the reference data set)",
    )  # fmt: skip
    add("--no-coverage", action="store_true", help="leave out COV and AMSD")
    add("--stability", action="store_true", help="relax with CHGNet; energy above hull, S.U.N.")
    add("--hull", type=Path, help="JSON of pymatgen entries (default: reference and training set)")
    add("--stable-at", type=float, default=0.1, help="stable: at most this above the hull, eV/atom")
    add("--relax-steps", type=int, default=200, help="most steps of a relaxation")
    add(
        "--shard", metavar="K/N",
        help="only relax part K (from 0) of N into the cache (CRYSDIFF_CACHE), for several jobs "
        "that share it; the same command without --shard then scores",
    )  # fmt: skip
    add("--bootstrap", type=int, default=1000, help="resamples for the intervals; 0 for none")
    add("--workers", type=int, help="processes (default: all cores)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("scores"), help="results.json and a table per file")


def run(args: argparse.Namespace) -> None:
    """Evaluate every file under one protocol, write and print the results."""
    from pyg_crysdiff.data import read_crystals  # noqa: PLC0415
    from pyg_crysdiff.evaluation.definitions import definition  # noqa: PLC0415
    from pyg_crysdiff.evaluation.harness import evaluate  # noqa: PLC0415
    from pyg_crysdiff.evaluation.results import Results, Row  # noqa: PLC0415

    protocol, facts = _protocol(args)
    if args.shard is not None:
        _relax_part(args, protocol)
        return
    rows = []
    args.out.mkdir(parents=True, exist_ok=True)
    for file in args.files:
        entries = read_crystals(file)
        found = evaluate(entries, protocol)
        name = Path(file).name
        found.table.to_csv(args.out / f"{name}.csv", index=False)
        rows.append(Row(name, "measured", str(file), found.metrics, {"num_samples": len(entries)}))
        print(f"{name}: {len(entries)} entries")
        for key, estimate in found.metrics.items():
            ends = ""
            if estimate.low is not None and estimate.high is not None:
                ends = f"  [{estimate.low:.4f}, {estimate.high:.4f}]"
            print(f"  {key:<24}{estimate.value:10.4f}{ends}")
    keys = dict.fromkeys(key for row in rows for key in row.metrics)
    Results(
        dataset=str(args.reference or ""),
        split=facts.pop("split", ""),
        seed=args.seed,
        task=args.task,
        rows=rows,
        definitions={key: definition(key) for key in keys},
        settings=facts,
    ).save(args.out / "results.json")
    print(f"{args.out / 'results.json'}")


def _relax_part(args: argparse.Namespace, protocol: Any) -> None:
    """Relax one part of the valid crystals of all files."""
    from pyg_crysdiff.data import Crystal, read_crystals  # noqa: PLC0415
    from pyg_crysdiff.evaluation.harness import Protocol, describe  # noqa: PLC0415
    from pyg_crysdiff.evaluation.stability import relax_shard  # noqa: PLC0415

    if protocol.stability is None:
        raise ValueError("--shard splits the relaxations: it needs --stability")
    shard = parse_shard(args.shard)
    phases = [*protocol.reference, *protocol.train]
    checks = Protocol(uniqueness=False, space_groups=False, num_workers=protocol.num_workers)
    for file in args.files:
        entries = read_crystals(file)
        flags = describe(entries, checks, None)["valid"]
        valid = [c for c, ok in zip(entries, flags, strict=True) if ok and isinstance(c, Crystal)]
        count = relax_shard(valid, phases, protocol.stability, shard, progress=True)
        print(f"{Path(file).name}: part {args.shard}, {count} crystals relaxed")


def _protocol(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    from pyg_crysdiff.evaluation.cdvae_evaluator import load_evaluator  # noqa: PLC0415
    from pyg_crysdiff.evaluation.harness import Protocol  # noqa: PLC0415

    reference, reference_set = _crystals(args.reference, "test", args)
    train, train_set = _crystals(args.train, "train", args)
    evaluator = None if args.evaluator is None else load_evaluator(args.evaluator)
    named = reference_set or train_set
    cutoffs = dict(reference_set.coverage_cutoffs) if reference_set is not None else {}
    if args.cutoffs:
        cutoffs = {"given": tuple(args.cutoffs)}
    protocol = Protocol(
        task=args.task,
        reference=reference,
        train=train,
        evaluator=evaluator,
        target=args.target,
        stability=_stability(args),
        num_starts=args.starts,
        thresholds=None if named is None else named.success_thresholds,
        cutoffs={} if args.no_coverage else cutoffs,
        seed=args.seed,
        num_bootstrap=args.bootstrap,
        num_workers=args.workers,
        cache_dir=_cache_folder(),
    )
    facts = {
        "reference": args.reference,
        "num_reference": len(reference),
        "train": args.train,
        "num_train": len(train),
        "split": "" if named is None else named.split_description,
        "cutoffs": {k: list(v) for k, v in protocol.cutoffs.items()},
        "thresholds": list(protocol.success_thresholds() or ()),
        "evaluator": None if evaluator is None else evaluator.card,
        "target": args.target,
        "stability": None if protocol.stability is None else str(protocol.stability),
    }
    return protocol, facts


def _stability(args: argparse.Namespace) -> Any:
    if not args.stability:
        return None
    from pyg_crysdiff.evaluation.stability import Stability  # noqa: PLC0415

    return Stability(
        hull=args.hull,
        stable_at=args.stable_at,
        steps=args.relax_steps,
        cache_dir=_cache_folder(),
        num_workers=args.workers,
    )


def _cache_folder() -> Path:
    from pyg_crysdiff.platform import cache_folder  # noqa: PLC0415

    return cache_folder() / "fingerprints"


def _crystals(name: str | None, split: str, args: argparse.Namespace) -> tuple[list[Any], Any]:
    """Crystals of a named data set's part, or of any readable file."""
    from pyg_crysdiff.data import DATASETS, Crystal, load_dataset, read_crystals  # noqa: PLC0415

    if name is None:
        return [], None
    if name in DATASETS:
        dataset = load_dataset(name, split, **data_options(args))
        return dataset.crystals(), dataset
    entries = read_crystals(name)
    broken = [e for e in entries if not isinstance(e, Crystal)]
    if broken:
        raise ValueError(f"{name} has {len(broken)} unreadable entries, first: {broken[0].reason}")
    return list(entries), None
