"""Write a checkpoint to share: weights as safetensors, and a JSON card beside them."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.structrepdiff.search import SEARCHES

EXAMPLE = """examples:
  crysdiff export runs/carbon/last.ckpt --out carbon24-cds.safetensors
  crysdiff export last.ckpt --out mine.safetensors --facts facts.json
  crysdiff export runs/srd/last.ckpt --out dense.safetensors --reconstruction dense
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("checkpoint", type=Path, help="file written in training")
    add("--out", type=Path, required=True, help="file ending in .safetensors")
    add(
        "--facts", type=Path, metavar="JSON",
        help="facts for the card: metrics, licence of the data, hardware; its entry 'sampler' "
        "holds what sampling then takes by default: solver, steps, spacing, corrector_steps, "
        "renewal, temperature, guidance, num_atoms",
    )  # fmt: skip
    add("--full-precision", action="store_true", help="keep the weights in float32")
    add(
        "--reconstruction", choices=SEARCHES,
        help="StructRepDiff: another search for coordinates than the model was trained with",
    )  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")


def run(args: argparse.Namespace) -> None:
    """Export, and say how large the file is."""
    from pyg_crysdiff.configuration import load_table  # noqa: PLC0415
    from pyg_crysdiff.models import export_checkpoint, load_checkpoint  # noqa: PLC0415
    from pyg_crysdiff.storage import read_json  # noqa: PLC0415

    facts = {}
    if args.facts is not None:
        facts = read_json(args.facts)
        if not isinstance(facts, dict):
            raise ValueError(f"{args.facts} must hold one JSON object")
    search = None
    if args.reconstruction is not None:
        search = load_table(f"reconstruction/{args.reconstruction}.yaml")
    model = load_checkpoint(args.checkpoint, trusted=args.trust)
    export_checkpoint(
        model,
        args.out,
        facts=facts,
        half=not args.full_precision,
        reconstruction=search,
    )
    size = args.out.stat().st_size / 2**20
    say(f"{args.out} ({size:.1f} MiB), {args.out.with_suffix('.json').name}")
