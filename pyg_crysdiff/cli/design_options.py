"""Options of ``crysdiff design``, in groups."""

from __future__ import annotations

import argparse

from pyg_crysdiff.cli.numbers import count, finite, not_negative, positive, whole


def add_known(parser: argparse.ArgumentParser) -> None:
    """Declare options: what is known."""
    add = parser.add_argument_group("what is known").add_argument
    add(
        "--data", metavar="DATA",
        help="data set (its train part), file or folder with values: the predictor starts from "
        "them, and no candidate is one of them",
    )  # fmt: skip
    add(
        "--known", metavar="DATA",
        help="further crystals that no candidate may be: data set, file, or database (crysdiff "
        "index)",
    )  # fmt: skip
    add(
        "--valid", choices=["structure", "cdvae"], default="structure",
        help="what a candidate must be; cdvae: its composition valid under SMACT too (default: "
        "structure)",
    )  # fmt: skip
    add(
        "--known-within", type=positive, metavar="STOL",
        help="how near to a known crystal a candidate counts as it, as pymatgen's stol; 0.5 leaves "
        "out distorted copies too (default: 0.3)",
    )  # fmt: skip


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Declare options: which crystals are evaluated."""
    add = parser.add_argument_group("which crystals are evaluated").add_argument
    add(
        "--predictor", action="append", default=[], metavar="MODEL",
        help="trained property model of a wanted number, from which the choice starts: a file of "
        "crysdiff train-evaluator, a name such as perov5-predictor, cdvae:perov5; repeat for "
        "several (default: all is learnt from --data and the evaluations)",
    )  # fmt: skip
    add("--batch", type=count, default=50, help="evaluations in a round (default: 50)")
    add("--draws", type=count, default=2000, help="crystals drawn for a round (default: 2000)")
    add(
        "--acquisition", choices=["improvement", "bound", "mean", "random"], default="improvement",
        help="order of the candidates: expected improvement, optimistic bound, predicted value "
        "alone, or as drawn (default: improvement)",
    )  # fmt: skip
    add(
        "--kappa", type=not_negative, default=2.0,
        help="standard deviations of the bound (default: 2)",
    )  # fmt: skip
    add(
        "--per-composition", type=whole, default=1,
        help="most chosen of one reduced formula in the whole run; 0: any number (default: 1)",
    )  # fmt: skip
    add(
        "--per-prototype", type=whole, default=0,
        help="most chosen of one prototype in a round; 0: any number (default: 0)",
    )  # fmt: skip
    add(
        "--element-growth", type=not_negative, default=0,
        help="most that an element's share of a round may be, in multiples of its share in --data; "
        "0: any (default: 0)",
    )  # fmt: skip


def add_oracle(parser: argparse.ArgumentParser) -> None:
    """Declare options: evaluations."""
    add = parser.add_argument_group("evaluations").add_argument
    add(
        "--wait", type=positive, metavar="SECONDS",
        help="look again every so many seconds for results that are awaited (default: leave off)",
    )  # fmt: skip
    add(
        "--timeout", type=positive, default=3600.0, metavar="SECONDS",
        help="most seconds of a function or program for a crystal (default: 3600)",
    )  # fmt: skip


def add_request(parser: argparse.ArgumentParser) -> None:
    """Declare options: how the generator is asked."""
    add = parser.add_argument_group("how the generator is asked").add_argument
    add(
        "--request", action="append", metavar="TARGET",
        help="as --target of crysdiff sample: min, min:5, none, NAME=VALUE or NAME=LOW:HIGH, "
        "several joined by commas; requests are shared out evenly (default: by the targets)",
    )  # fmt: skip
    add("--num-atoms", help="as in crysdiff sample (default: the checkpoint's card)")
    add(
        "--guidance", type=finite,
        help="scale of classifier-free guidance (default: the checkpoint's card, else 1)",
    )  # fmt: skip
    add("--extrapolate", action="store_true", help="allow --request beyond the training range")


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Declare options: how the generator learns."""
    parser.add_argument_group("the generator learns").add_argument(
        "--fine-tune", nargs="*", metavar="NAME=VALUE",
        help="train the generator on what was found, with --data again so that it forgets nothing; "
        "the new one is taken if held-out crystals say that it is better. Names: steps, share, lr, "
        "every and others of FineTune",
    )  # fmt: skip


def add_running(parser: argparse.ArgumentParser) -> None:
    """Declare options: where it is computed."""
    add = parser.add_argument_group("running").add_argument
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add("--workers", type=whole, help="processes, on the CPU (default: all cores)")
    add(
        "--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"],
        help="precision of the generator (default: auto, bf16 where the device is fast in it)",
    )  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")
