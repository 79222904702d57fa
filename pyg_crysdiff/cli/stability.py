"""The options of ``crysdiff evaluate`` on stability, as the evaluation takes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.judging import JUDGE, add_settings, device_of
from pyg_crysdiff.cli.lists import existing
from pyg_crysdiff.cli.numbers import finite
from pyg_crysdiff.cli.samples import read_samples
from pyg_crysdiff.cli.shards import parse_shard

if TYPE_CHECKING:
    from pyg_crysdiff.cli.samples import NamedFile
    from pyg_crysdiff.evaluation.protocol import Protocol
    from pyg_crysdiff.evaluation.stability_settings import Stability


def add_stability(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    add = parser.add_argument_group("stability").add_argument
    add("--stability", action="store_true", help="relax; energy above hull, S.U.N., MSUN")
    add(
        "--judge", action="append", metavar="NAME",
        help=f"{JUDGE}; repeated: several, each with a hull of its own (default: chgnet)",
    )  # fmt: skip
    add(
        "--hull", action="append", metavar="[JUDGE=]FILE",
        help="file of crysdiff hull, or JSON of pymatgen entries (default: energies of the "
        "reference and training set as they are, which favours the samples)",
    )  # fmt: skip
    add(
        "--energies", action="append", metavar="FILE",
        help="energies of one's own, one file for each sample file; needs --hull energies=FILE",
    )  # fmt: skip
    add("--scheme", default="", help="their energy correction scheme, where the file does not say")
    add("--stable-at", type=finite, default=0.1, help="for 'stable' and 'sun', eV/atom")
    add_settings(add, "--relax-steps")
    add(
        "--shard", metavar="K/N",
        help="only relax part K (from 0) of N into the cache (CRYSDIFF_CACHE), for several jobs "
        "that share it; the same command without --shard then scores",
    )  # fmt: skip


def stability_of(args: argparse.Namespace) -> Stability | None:
    """Return how stability is judged; None where no option asks for it.

    Raises:
        FileNotFoundError: If there is no such hull or file of energies.
        ValueError: If hulls and judges do not fit.
        ModuleNotFoundError: If the package of a judge is not installed.
    """
    if not (args.stability or args.judge or args.hull or args.energies):
        return None
    from pyg_crysdiff.evaluation.stability_settings import Stability  # noqa: PLC0415
    from pyg_crysdiff.relaxation import kept_folder  # noqa: PLC0415

    return Stability(
        hull=_hulls(args.hull or ()),
        stable_at=args.stable_at,
        steps=args.relax_steps,
        fmax=args.fmax,
        cache_dir=kept_folder(),
        num_workers=args.workers,
        judges=None if args.judge is None else tuple(args.judge),
        smax=args.smax,
        cell=not args.no_cell,
        device=device_of(args.device),
        energies=None if args.energies is None else existing(args.energies[0]),
        scheme=args.scheme,
    )


def _hulls(given: Sequence[str]) -> Path | dict[str, Path] | None:
    """Read one hull, or hulls with the names of their judges before them."""
    if len(given) == 1 and (Path(given[0]).exists() or "=" not in given[0]):
        return existing(given[0])
    out: dict[str, Path] = {}
    for text in given:
        name, sign, file = text.partition("=")
        if not (sign and name and file):
            raise ValueError(f"--hull {text}: of several hulls each needs its judge, JUDGE=FILE")
        if name in out:
            raise ValueError(f"--hull {name}=...: given twice")
        out[name] = existing(file)
    return out or None


def protocols_of(
    args: argparse.Namespace, files: Sequence[NamedFile], protocol: Protocol
) -> Iterator[Protocol]:
    """Yield the protocol of each sample file: with its own energies, where there are some.

    Raises:
        ValueError: If there are not as many files of energies as of samples.
    """
    energies = args.energies or []
    if energies and len(energies) != len(files):
        raise ValueError(
            f"{len(energies)} files of energies for {len(files)} of samples: give --energies once "
            "for each, in the same order"
        )
    for index in range(len(files)):
        if energies and protocol.stability is not None:
            own = replace(protocol.stability, energies=existing(energies[index]))
            yield replace(protocol, stability=own)
        else:
            yield protocol


def judge_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return who judged by which hull, and the warnings, for the screen."""
    lines = []
    for judge in facts.get("judges", ()):
        hull = judge["hull"]
        lines.append(
            f"judge {judge['judge']}; hull of {hull['phases']:,} phases "
            f"({hull['judge'] or 'no judge named'}): {hull['file'] or hull['source']}; unknown for "
            f"{judge['unknown']} of {judge['crystals']} crystals, {judge['failed']} failed"
        )
    return lines + [f"warning: {line}" for line in facts.get("warnings", ())]


def relax_part(args: argparse.Namespace, files: Sequence[NamedFile], protocol: Protocol) -> None:
    """Relax one part of the valid crystals of all files."""
    from pyg_crysdiff.evaluation.harness import valid_crystals  # noqa: PLC0415
    from pyg_crysdiff.evaluation.stability import relax_shard  # noqa: PLC0415

    if protocol.stability is None:
        raise ValueError("--shard splits the relaxations: it needs --stability")
    shard = parse_shard(args.shard)
    phases = [*protocol.reference, *protocol.train]
    for file in files:
        valid = valid_crystals(
            read_samples(file.path), validity=protocol.validity, num_workers=protocol.num_workers
        )
        relaxed = relax_shard(valid, phases, protocol.stability, shard, progress=True)
        say(f"{file.name}: part {args.shard}, {relaxed} crystals relaxed")
