"""Train a DimeNet++ property evaluator, on structures that the generator never sees."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import count, positive, seed

EXAMPLE = """examples:
  crysdiff train-evaluator demo --out runs/evaluator --preset fast
  crysdiff train-evaluator carbon24 --data-root DATA --split val-as-train --out runs/evaluator
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("dataset", help="demo, carbon24, perov5, mp20, or a CSV file or folder")
    add(
        "--part", default="test", choices=["train", "val", "test", "all"],
        help="part to train on (default: test)",
    )  # fmt: skip
    add("--property", help="property (default: the data set's own)")
    add("--preset", default="standard", type=_preset, choices=["fast", "standard", "large"],
        help="size of the network (default: standard)")  # fmt: skip
    add(
        "--out", type=Path, default=Path("runs/evaluator"),
        help="output folder (default: runs/evaluator)",
    )  # fmt: skip
    add_data_options(parser)
    add = parser.add_argument_group("training").add_argument
    add("--budget", type=positive, metavar="MINUTES", help="time (default: until the last epoch)")
    add("--max-epochs", type=count, default=300, help="most epochs (default: 300)")
    add("--batch-size", type=count, default=32, help="crystals per batch (default: 32)")
    add("--seed", type=seed, default=0, help="seed (default: 0)")
    add("--device", default="auto", help="cpu, cuda, ... (default: the best there is)")


def _preset(text: str) -> str:
    """Take the old name of the largest preset as well."""
    if text != "cdvae":
        return text
    say("the preset cdvae is called large now; cdvae names CDVAE's own evaluators")
    return "large"


def run(args: argparse.Namespace) -> None:
    """Train, and print the held-out error."""
    from pyg_crysdiff.data import load_dataset  # noqa: PLC0415
    from pyg_crysdiff.data.properties import describe_use  # noqa: PLC0415
    from pyg_crysdiff.property.training import train_evaluator  # noqa: PLC0415

    dataset = load_dataset(args.dataset, args.part, **data_options(args))
    name = args.property or dataset.property_name
    if name is None or name not in dataset.property_names:
        raise ValueError(
            f"{args.dataset} has no property {name!r}; name one with --property, of "
            f"{dataset.property_names}"
        )
    say(describe_use(dataset, [name], "trained on", "these crystals are left out"))
    model = train_evaluator(
        dataset.crystals(),
        name,
        args.out,
        preset=args.preset,
        max_epochs=args.max_epochs,
        budget_minutes=args.budget,
        batch_size=args.batch_size,
        seed=args.seed,
        device=args.device,
        facts={"dataset": dataset.display_name, "split": args.part},
    )
    card = model.card
    say(
        f"{args.out / 'evaluator.safetensors'}: held-out MAE of {name} "
        f"{card['held_out_mae']:.4f} on {card['num_held_out']} crystals"
    )
