"""Keep the best of many generated crystals: valid, nearest to a wanted property, none twice."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.known import known_crystals
from pyg_crysdiff.cli.numbers import count, finite, whole
from pyg_crysdiff.cli.samples import read_samples

EXAMPLE = """examples:
  crysdiff select samples/samples.extxyz -n 100 --predictor predictor.safetensors --target -3.5
  crysdiff select a.extxyz b.pt -n 50 --predictor p.safetensors --target -1 --new-to perov5

The predictor (crysdiff train-evaluator DATA --part train) should not be the evaluator that judges
the result.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help=".pt, extxyz, CIF, zip, tar, CSV, JSON, folder")
    add("-n", "--count", type=count, required=True, help="crystals to keep")
    add(
        "--predictor", required=True,
        help="property model that ranks them: a file, or the name of one that comes with the "
        "package (perov5-predictor, carbon24-predictor, mp20-predictor)",
    )  # fmt: skip
    add("--target", type=_wanted, required=True, help="wanted value of its property")
    add("--out", type=Path, default=Path("selected"), help="output folder (default: selected)")
    add("--poscar", action="store_true", help="also write POSCAR files for VASP, to poscar/")
    add = parser.add_argument_group("which of them").add_argument
    add(
        "--copies", type=whole, default=1,
        help="copies of one structure to keep; 0 = all (default: 1)",
    )  # fmt: skip
    add(
        "--new-to", metavar="DATA",
        help="data set (its train part), file, or database of known crystals (crysdiff index): "
        "none of its crystals",
    )  # fmt: skip
    add_data_options(parser)


def _wanted(text: str) -> float:
    """Read the wanted number; an end of the training range is what another command takes."""
    try:
        return finite(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{error}; crysdiff select takes one number, crysdiff sample takes min:5 and the like"
        ) from error


def run(args: argparse.Namespace) -> None:
    """Select, write selected.extxyz, cif/ and selected.csv, and say how many there are."""
    import pandas as pd  # noqa: PLC0415

    from pyg_crysdiff.data import Crystal  # noqa: PLC0415
    from pyg_crysdiff.data.writers import (  # noqa: PLC0415
        crystal_to_cif,
        write_extxyz,
        write_numbered,
        write_poscars,
    )
    from pyg_crysdiff.property.cdvae import load_evaluator  # noqa: PLC0415
    from pyg_crysdiff.property.selection import choose  # noqa: PLC0415
    from pyg_crysdiff.storage import write_text  # noqa: PLC0415

    predictor = load_evaluator(args.predictor)
    read = {file: read_samples(file) for file in args.files}
    entries = [entry for found in read.values() for entry in found]
    origin = [(file, i) for file, found in read.items() for i in range(len(found))]
    known = known_crystals(args.new_to, data_options(args))
    choice = choose(
        entries, args.count, predictor, args.target, copies=args.copies, known=known,
        progress=True,
    )  # fmt: skip
    chosen = choice.indices
    if not chosen:
        raise ValueError(
            f"none of the {len(entries)} crystals is valid and meets the conditions "
            f"({choice.left_out()})"
        )
    crystals = [c for c in (entries[i] for i in chosen) if isinstance(c, Crystal)]
    predicted = predictor.predict(crystals)
    args.out.mkdir(parents=True, exist_ok=True)
    write_extxyz(crystals, args.out / "selected.extxyz")
    write_numbered(map(crystal_to_cif, crystals), args.out / "cif", ".cif")
    write_poscars(crystals if args.poscar else [], args.out)
    table = pd.DataFrame(
        {
            "file": [origin[i][0] for i in chosen],
            "index": [origin[i][1] for i in chosen],
            "formula": [c.to_structure().composition.reduced_formula for c in crystals],
            predictor.property_name: predicted,
        }
    )
    write_text(args.out / "selected.csv", table.to_csv(index=False))
    if len(chosen) < args.count:
        why = f", {choice.left_out()}" if len(chosen) < len(entries) else ""
        say(
            f"only {len(chosen)} crystals can be kept of the {args.count} that were asked for "
            f"({len(entries)} read{why})"
        )
    poscars = ", poscar/" if args.poscar else ""
    say(
        f"{len(chosen)} crystals in {args.out}: selected.extxyz, selected.csv, cif/{poscars}; "
        f"predicted {predictor.property_name} {predicted.min():.6g} to {predicted.max():.6g}"
    )
