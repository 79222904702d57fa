"""Relax crystals with a potential, many at a time: cell and positions, forces and stress."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import count, positive, whole
from pyg_crysdiff.cli.samples import read_samples
from pyg_crysdiff.cli.shards import parse_shard

if TYPE_CHECKING:
    from pyg_crysdiff.data import BrokenEntry, Crystal
    from pyg_crysdiff.relaxation import Judge, Relaxation, RelaxSettings

EXAMPLE = """examples:
  crysdiff relax samples/samples.extxyz
  crysdiff relax a.extxyz b.pt --judge chgnet --judge sevennet --out relaxed
  crysdiff relax samples.pt --judge ase:ase.calculators.emt.EMT --fmax 0.02

For each judge, OUT/JUDGE/ gets relaxed.extxyz, relaxations.csv and summary.json. Every result is
kept as it comes (CRYSDIFF_CACHE): the same command goes on, and crysdiff evaluate finds them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help=".pt, extxyz, CIF, zip, tar, CSV, JSON, folder")
    add(
        "--judge", action="append", metavar="JUDGE",
        help="chgnet, sevennet, ase:module.Class (a calculator of ASE that needs no arguments) or "
        "torchsim:NAME; may be given several times (default: chgnet)",
    )  # fmt: skip
    add("--out", type=Path, default=Path("relaxed"), help="output folder (default: relaxed)")
    add = parser.add_argument_group("when a relaxation ends").add_argument
    add("--steps", type=whole, default=500, help="most steps; 0: energies only (default: 500)")
    add("--fmax", type=positive, default=0.05, help="largest force, eV/A (default: 0.05)")
    add("--smax", type=positive, default=0.4, help="largest stress, GPa (default: 0.4)")
    add("--no-cell", action="store_true", help="keep the cell; the stress does not count then")
    add = parser.add_argument_group("running").add_argument
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ..., auto (default: cpu)")
    add("--workers", type=whole, help="processes, on the CPU (default: all cores)")
    add("--batch-atoms", type=count, help="most atoms in a batch (default: as the device likes)")
    add(
        "--shard", metavar="K/N",
        help="only relax part K (from 0) of N, for several jobs that share CRYSDIFF_CACHE; the "
        "same command without --shard then writes the results",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Relax, write the results and say what they are."""
    from pyg_crysdiff.relaxation import RelaxSettings  # noqa: PLC0415
    from pyg_crysdiff.storage import only_writer  # noqa: PLC0415

    judges = find_judges(args.judge or ["chgnet"])
    settings = RelaxSettings(args.steps, args.fmax, args.smax, not args.no_cell)
    part = None if args.shard is None else parse_shard(args.shard)
    entries = [
        (file, index, entry)
        for file in dict.fromkeys(args.files)
        for index, entry in enumerate(read_samples(file))
    ]
    if part is not None:
        for judge in judges:
            found = _relaxed(entries[part[0] :: part[1]], judge, settings, args)
            say(f"{judge.title}: part {args.shard}, {len(found)} crystals relaxed")
        return
    with only_writer(args.out):
        for judge in judges:
            _write(entries, _relaxed(entries, judge, settings, args), judge, settings, args.out)


def find_judges(names: Sequence[str]) -> list[Judge]:
    """Return judges by their names, each once; modules of the present folder count."""
    from pyg_crysdiff.relaxation import find_judge  # noqa: PLC0415

    if any(":" in name for name in names) and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return [find_judge(name) for name in dict.fromkeys(names)]


_Named = Sequence[tuple[str, int, "Crystal | BrokenEntry"]]


def _relaxed(
    entries: _Named, judge: Judge, settings: RelaxSettings, args: argparse.Namespace
) -> list[Relaxation]:
    """Relax the readable crystals among the entries."""
    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415
    from pyg_crysdiff.relaxation import kept_folder, relax  # noqa: PLC0415

    return relax(
        [entry for _, _, entry in entries if isinstance(entry, Crystal)],
        judge,
        settings,
        cache_dir=kept_folder(),
        num_workers=args.workers,
        device=str(choose_device(args.device)),
        batch_atoms=args.batch_atoms,
        progress=True,
    )


def _write(
    entries: _Named,
    found: Sequence[Relaxation],
    judge: Judge,
    settings: RelaxSettings,
    out: Path,
) -> None:
    """Write structures, table and summary of one judge."""
    import pandas as pd  # noqa: PLC0415

    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.data.writers import write_extxyz  # noqa: PLC0415
    from pyg_crysdiff.relaxation.summary import summarise  # noqa: PLC0415
    from pyg_crysdiff.storage import file_name, write_json, write_text  # noqa: PLC0415

    records = iter(found)
    structures, rows = [], []
    for file, index, entry in entries:
        row: dict[str, Any] = {"file": file, "index": index}
        if isinstance(entry, Crystal):
            record = next(records)
            structures.append(_marked(entry, record, row))
            row |= _facts(entry, record)
        else:
            row |= {"problem": f"unreadable: {entry.reason}", "judge": judge.title}
        rows.append(row)
    folder = out / file_name(judge.name)
    folder.mkdir(exist_ok=True)
    write_extxyz(structures, folder / "relaxed.extxyz")
    table = pd.DataFrame(rows)
    for name in {"num_atoms", "steps"} & set(table):
        table[name] = table[name].astype("Int64")  # whole numbers although some are missing
    write_text(folder / "relaxations.csv", table.to_csv(index=False))
    summary = {
        "judge": judge.title, "scheme": judge.scheme, "settings": settings.key,
        "entries": len(entries), "unreadable": len(entries) - len(found), **summarise(found),
    }  # fmt: skip
    write_json(folder / "summary.json", summary)
    _say_summary(summary, folder)


def _marked(crystal: Crystal, record: Relaxation, row: dict[str, Any]) -> Crystal:
    """Return the relaxed crystal, or where that failed the crystal as it was, and say which."""
    shown = crystal if record.crystal is None else record.crystal
    info = {**crystal.info, **row, "relaxed": record.crystal is not None, "judge": record.judge}
    if record.problem:
        info["problem"] = record.problem
    else:
        info |= {"energy_per_atom": record.energy, "converged": record.converged}
    return replace(shown, info=info)


def _facts(crystal: Crystal, record: Relaxation) -> dict[str, Any]:
    from pyg_crysdiff.evaluation.distribution import reduced_formula  # noqa: PLC0415

    numbers = {name: value for name, value in vars(record).items() if name != "crystal"}
    return {"formula": reduced_formula(crystal), "num_atoms": len(crystal), **numbers}


def _say_summary(summary: dict[str, Any], folder: Path) -> None:
    line = (
        f"{summary['judge']}: {summary['relaxed']} of {summary['entries']} entries relaxed, "
        f"{summary['converged']} converged"
    )
    if summary["relaxed"]:
        line += (
            f"; medians: {summary['steps']:.0f} steps, {summary['energy_gain']:.3f} eV/atom "
            f"gained, {summary['moved']:.2f} A moved, volume {summary['volume_change']:+.1%}"
        )
    lines = [line]
    if summary["unreadable"]:
        lines.append(f"  {summary['unreadable']} entries could not be read")
    lines += [f"  failed, {n}: {problem}" for problem, n in list(summary["problems"].items())[:5]]
    lines += [f"  implausible: {doubt}" for doubt in summary["doubts"]]
    say("\n".join([*lines, f"  {folder}: relaxed.extxyz, relaxations.csv, summary.json"]))
