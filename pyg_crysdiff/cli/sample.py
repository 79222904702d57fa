"""Generate crystals from a checkpoint; written as they come, resumed by the same command."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import (
    count,
    finite,
    positive,
    seed,
)
from pyg_crysdiff.cli.sampling_options import (
    add_control,
    add_sampler,
    control_of,
    num_atoms_of,
    sampler_of,
    target_of,
)
from pyg_crysdiff.cli.shards import parse_shard

EXAMPLE = """examples:
  crysdiff sample --checkpoint carbon24-cds -n 20 --out samples
  crysdiff sample --checkpoint runs/demo/last.ckpt -n 100 --target min --out samples
  crysdiff sample --checkpoint c.ckpt -n 50 --target energy_per_atom=-154.5 --num-atoms 6-12
  crysdiff sample --checkpoint c.ckpt -n 50 --formula Ti2O4 --symmetrise 0.1
  crysdiff sample --checkpoint c.ckpt -n 50 --chemical-system Li-Fe-O --charge-neutral
  crysdiff sample --checkpoint c.ckpt -n 50 --template host.cif --keep-sites 0-3 --keep coordinates
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, the usual ones first."""
    add = parser.add_argument
    add(
        "--checkpoint", required=True,
        help="file written in training or by crysdiff export, or the name of one that comes with "
        "the package (crysdiff info lists them)",
    )  # fmt: skip
    add("-n", "--num-samples", type=count, default=100, help="crystals (default: 100)")
    add(
        "--target", action="append", metavar="NAME=VALUE",
        help="wanted property (repeat for several) or interval NAME=LOW:HIGH; 'min' (training "
        "minimum, default), 'min:5' (anywhere in the lowest 5 %% of it), 'max', 'max:5' or 'none'",
    )  # fmt: skip
    add("--out", type=Path, default=Path("samples"), help="output folder (default: samples)")
    add("--seed", type=seed, default=0, help="seed (default: 0)")
    _add_request(parser)
    add_control(parser)
    add_sampler(parser)
    _add_running(parser)


def _add_request(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is asked for").add_argument
    add(
        "--num-atoms",
        help="8, 6-24, weights 5:1,10:3, 'distribution' (that of the training set) or 'target' "
        "(that of training crystals near the target) (default: the checkpoint's card, else "
        "distribution)",
    )  # fmt: skip
    add(
        "--guidance", type=finite,
        help="scale of classifier-free guidance; 1 = none (default: the checkpoint's card, else 1)",
    )  # fmt: skip
    add("--extrapolate", action="store_true", help="allow targets beyond the training range")
    add("--poscar", action="store_true", help="also write POSCAR files for VASP, to poscar/")
    add(
        "--symmetrise", type=positive, nargs="?", const=0.1, metavar="SYMPREC",
        help="also write idealised copies with their space groups (default tolerance 0.1 A)",
    )  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("running").add_argument
    add("--batch-size", type=count, help="crystals per batch (default: bounded by the memory)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add(
        "--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"],
        help="precision of the network (default: auto, bf16 where the device is fast in it)",
    )  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")
    add(
        "--shard", metavar="K/N",
        help="generate only part K (from 0) of N, for several processes or machines that share "
        "--out; the same command without --shard collects them",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Sample, and say with which sampler and where the files are."""
    from pyg_crysdiff.data.writers import write_poscars  # noqa: PLC0415
    from pyg_crysdiff.models import load_checkpoint  # noqa: PLC0415
    from pyg_crysdiff.platform import choose_device  # noqa: PLC0415
    from pyg_crysdiff.sampling import sample, write_symmetrised  # noqa: PLC0415
    from pyg_crysdiff.sampling.choice import choose  # noqa: PLC0415

    target, control = target_of(args.target), control_of(args)
    shard = None if args.shard is None else parse_shard(args.shard)
    num_atoms = num_atoms_of(args.num_atoms)
    model = load_checkpoint(args.checkpoint, choose_device(args.device), args.trust)
    sampler = sampler_of(args, lambda: model.model)
    say(f"sampler: {choose(model, sampler)}")
    crystals = sample(
        model,
        args.num_samples,
        target=target,
        num_atoms=num_atoms,
        control=control,
        seed=args.seed,
        sampler=sampler,
        guidance=args.guidance,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
        out=args.out,
        shard=shard,
        extrapolate=args.extrapolate,
    )
    if args.shard is not None:
        say(f"part {args.shard}: {len(crystals)} crystals in {args.out}/parts")
        return
    if args.poscar:
        write_poscars(crystals, args.out)
    poscars = ", poscar/" if args.poscar else ""
    say(f"{len(crystals)} crystals in {args.out}: samples.extxyz, samples.pt, cif/{poscars}")
    if args.symmetrise is not None:
        copies = write_symmetrised(crystals, args.out, args.symmetrise)
        higher = sum(c.info["space_group_number"] > 1 for c in copies)
        say(f"{higher} of them have symmetry: symmetrised.extxyz, symmetrised/")
