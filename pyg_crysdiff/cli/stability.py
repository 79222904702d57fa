"""The options of ``crysdiff evaluate`` on stability, as the evaluation takes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.judging import relaxation_folder
from pyg_crysdiff.cli.lists import existing

if TYPE_CHECKING:
    from pyg_crysdiff.cli.samples import NamedFile
    from pyg_crysdiff.evaluation.protocol import Protocol
    from pyg_crysdiff.evaluation.stability_settings import Stability


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

    return Stability(
        hull=_hulls(args.hull or ()),
        stable_at=args.stable_at,
        steps=args.relax_steps,
        fmax=args.fmax,
        cache_dir=relaxation_folder(),
        num_workers=args.workers,
        judges=None if args.judge is None else tuple(args.judge),
        smax=args.smax,
        cell=not args.fixed_cell,
        device=args.device,
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
