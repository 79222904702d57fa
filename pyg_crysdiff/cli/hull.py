"""Make a hull of known crystals: their relaxed energies by the judge that will judge samples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.judging import (
    JUDGE,
    add_settings,
    all_crystals,
    device_of,
    settings_of,
)
from pyg_crysdiff.cli.numbers import count, whole
from pyg_crysdiff.cli.samples import read_samples
from pyg_crysdiff.cli.shards import parse_shard

if TYPE_CHECKING:
    from pyg_crysdiff.data import Crystal
    from pyg_crysdiff.evaluation.hull import HullFile
    from pyg_crysdiff.relaxation import Judge

EXAMPLE = """examples:
  crysdiff hull mp20 --data-root DATA --systems samples.extxyz --judge chgnet
  crysdiff evaluate samples.extxyz --train mp20 --data-root DATA --stability --judge chgnet \\
      --hull chgnet=hull-chgnet.json.gz
  crysdiff hull mp20 known.csv --all --judge sevennet --shard 0/8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    add = parser.add_argument
    add("known", nargs="+", metavar="KNOWN", help="data sets (all their parts) and files")
    add("--judge", default="chgnet", help=f"{JUDGE} (default: chgnet)")
    add("--out", type=Path, metavar="FILE", help="the hull (default: hull-JUDGE.json.gz)")
    add = parser.add_argument_group("which crystals").add_argument
    add(
        "--systems", nargs="+", metavar="FILE",
        help="only those in the chemical systems of these samples, elements included",
    )  # fmt: skip
    add("--all", action="store_true", help="all of them")
    add(
        "--lowest", type=count, metavar="N",
        help="of one compound only the N lowest by the data set's own energies; elements are kept",
    )  # fmt: skip
    add = parser.add_argument_group("how they are judged").add_argument
    add_settings(add)
    add("--unrelaxed", action="store_true", help="energies of the crystals as they are")
    add = parser.add_argument_group("running").add_argument
    add(
        "--shard", metavar="K/N",
        help="only relax part K (from 0) of N into the cache (CRYSDIFF_CACHE), for several jobs "
        "that share it; the same command without --shard then writes the hull",
    )  # fmt: skip
    add("--workers", type=whole, help="processes (default: all cores)")
    add_data_options(parser)


def run(args: argparse.Namespace) -> None:
    """Choose known crystals, relax them, write the hull and say what it is good for."""
    from pyg_crysdiff.evaluation.known_phases import (  # noqa: PLC0415
        bias_of,
        energies_of,
        make_hull,
    )
    from pyg_crysdiff.relaxation import RelaxSettings, find_judge, kept_folder  # noqa: PLC0415

    if (args.systems is None) == (not args.all):
        raise ValueError("name the samples with --systems FILE, or take --all known crystals")
    judge = find_judge(args.judge)
    settings = RelaxSettings(steps=0) if args.unrelaxed else settings_of(args)
    samples = _samples(args.systems or ())
    known, facts = _chosen(args, samples)
    running = {
        "cache_dir": kept_folder(), "num_workers": args.workers,
        "device": device_of(args.device), "progress": True,
    }  # fmt: skip
    if args.shard is not None:
        k, n = parse_shard(args.shard)
        part = energies_of(known[k::n], judge, settings, **running)
        say(f"part {args.shard}: energies of {len(part):,} known crystals by {judge.title}")
        return
    source = ", ".join(args.known)
    hull = make_hull(known, judge, settings, source=source, facts=facts, **running)
    if settings.steps:
        bias = bias_of(hull, samples)
        hull = hull.with_facts(bias=bias.facts())
        say("\n".join(bias.lines()))
    file = args.out or Path(f"hull-{_word(judge)}.json.gz")
    hull.write(file)
    _tell(hull, samples or known, file)


def _samples(files: Sequence[str]) -> list[Crystal]:
    """Read the samples whose chemical systems are asked for; what cannot be read has none."""
    from pyg_crysdiff.data import Crystal  # noqa: PLC0415

    return [e for file in files for e in read_samples(file) if isinstance(e, Crystal)]


def _chosen(
    args: argparse.Namespace, samples: Sequence[Crystal]
) -> tuple[list[Crystal], dict[str, Any]]:
    """Return the known crystals that are wanted, and what the file says of the choice."""
    from pyg_crysdiff.evaluation.known_phases import (  # noqa: PLC0415
        chemical_systems,
        distinct,
        in_systems,
        lowest_of_composition,
    )

    every = [c for name in args.known for c in all_crystals(name, data_options(args))]
    known = distinct(every)
    if args.systems is not None:
        systems = chemical_systems(samples)
        known = in_systems(known, systems)
        if not known:
            raise ValueError(f"no known crystal lies in the {len(systems)} systems of the samples")
        say(f"{len(known):,} of {len(every):,} known crystals lie in the samples' systems")
    if args.lowest is not None:
        before = len(known)
        known = lowest_of_composition(known, args.lowest)
        lowest = f"elements, and the {args.lowest} lowest of each compound"
        say(f"{len(known):,} of them: {lowest} ({before:,})")
    systems_of = "all" if args.systems is None else [Path(file).name for file in args.systems]
    return known, {"known": len(every), "systems": systems_of, "lowest": args.lowest}


def _word(judge: Judge) -> str:
    from pyg_crysdiff.storage import file_name  # noqa: PLC0415

    return file_name(judge.name)


def _tell(hull: HullFile, at: Sequence[Crystal], file: Path) -> None:
    """Say what is in the file, and which elements it knows nothing of."""
    from pyg_crysdiff.evaluation.known_phases import (  # noqa: PLC0415
        chemical_systems,
        elements_without_phase,
    )

    if missing := elements_without_phase(hull, chemical_systems(at)):
        say(
            f"no crystal of the element: {', '.join(missing)}; systems with it have no hull. Name "
            "a file with such a crystal beside the others"
        )
    facts = hull.facts
    say(
        f"{file}: {len(hull.phases):,} phases by {hull.judge}; {facts['failed']} failed, "
        f"{facts['not_converged']} did not converge"
    )
