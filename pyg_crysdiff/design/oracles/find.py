"""An oracle by what a user writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.oracles.combined import CombinedOracle, title_of

SPECS = (
    "lookup:SET[:PARTS]", "lookup:FILE", "model:FILE", "chgnet[,unrelaxed][:HULLFILE]",
    "sevennet[,unrelaxed][:HULLFILE]", "ase:module.Class", "torchsim:NAME",
    "python:module:function", "command:PROGRAM ARGUMENTS", "folder:FOLDER",
)  # fmt: skip
_WITH_NAME = ("ase", "torchsim")  # potentials whose name has a second part
_OPEN = ("python", "command", "folder")  # give what they are asked for
Spec = str | Oracle | Callable[[list[Any]], Any]


def find_oracle(
    spec: Spec | Sequence[Spec],
    names: Sequence[str],
    *,
    timeout: float = 3600.0,
    folder: str | Path | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
    data: Mapping[str, Any] | None = None,
) -> Oracle:
    """Return the oracle that gives the wanted numbers.

    Args:
        spec: Which one, or several, which are asked in this order; a later one gets the relaxed
            crystal of an earlier one.

            - ``lookup:perov5``, ``lookup:perov5:val,test``, ``lookup:FILE``: the known numbers of
              the known crystal that a crystal is.
            - ``model:FILE`` or ``model:NAME``: a property model.
            - ``chgnet``, ``sevennet``, ``ase:module.Class``, ``torchsim:NAME``: a potential, which
              relaxes; ``chgnet:HULLFILE`` with a hull; ``chgnet,unrelaxed`` as the crystals are.
            - ``python:module:function``, ``python:file.py:function``: a function.
            - ``command:PROGRAM ARGUMENTS``: a program that gets the file of a structure.
            - ``folder:FOLDER``: a queue of jobs.
            - ``band_gap,density=python:module:function``: one of the last three gives these
              numbers; without it what is wanted and no other oracle gives.
            - An oracle, or a function as in :class:`FunctionOracle`.
        names: Names of the wanted numbers.
        timeout: Seconds that a function or program may take for a crystal.
        folder: Folder of this run for the folders of programs, and for answers that wait for those
            of a later oracle; None keeps neither.
        num_workers: Processes; None for all cores. An engine in charge takes their place.
        device: Device of PyTorch for potentials and models.
        data: Options of :func:`pyg_crysdiff.data.load_dataset` for a look-up.

    Raises:
        ValueError: If the text is none of these, a wanted number is given by none or by two, or a
            file does not fit.
        FileNotFoundError: If a file or program is missing.
        ImportError: If a package, or the user's function, is missing.
    """
    given = [spec] if isinstance(spec, str) or not isinstance(spec, Sequence) else list(spec)
    if not given or not names:
        raise ValueError(f"name an oracle ({', '.join(SPECS)}), and what is wanted")
    place = None if folder is None else Path(folder)
    make = partial(
        _make, timeout=timeout, folder=place, num_workers=num_workers, device=device,
        data=dict(data or {}),
    )  # fmt: skip
    choices = [_read(one) for one in given]
    made = {i: make(c, c.names or names) for i, c in enumerate(choices) if c.names or not c.open}
    left = [name for name in names if not any(name in oracle.names for oracle in made.values())]
    rest = [choice for i, choice in enumerate(choices) if i not in made]
    if len(rest) > 1 or (rest and not left):
        raise ValueError(
            f"say what {' and '.join(str(c) for c in rest)} gives: band_gap={rest[0]}, say"
        )
    oracles = [made[i] if i in made else make(c, left) for i, c in enumerate(choices)]
    return _together(oracles, names, place)


@dataclass(frozen=True)
class _Choice:
    """A spec in its parts; ``oracle`` is one that was given as it is, or a function."""

    kind: str
    rest: str = ""
    names: tuple[str, ...] = ()
    oracle: Any = None

    @property
    def open(self) -> bool:
        """Whether it gives whatever it is asked for."""
        return self.kind in _OPEN

    def __str__(self) -> str:
        return f"{self.kind}:{self.rest}"


def _read(spec: Spec) -> _Choice:
    """Take a spec apart."""
    if not isinstance(spec, str):
        if hasattr(spec, "ask"):
            return _Choice("oracle", oracle=spec)
        if not callable(spec):
            raise ValueError(
                f"an oracle is a text ({', '.join(SPECS)}) or a function, not {spec!r}"
            )
        return _Choice("python", getattr(spec, "__qualname__", "function"), oracle=spec)
    before, equals, after = spec.partition("=")
    named = bool(equals) and ":" not in before
    names = tuple(name.strip() for name in before.split(",")) if named else ()
    kind, _, rest = (after if named else spec).partition(":")
    kind = kind.strip()
    if names and kind not in (*_OPEN, "lookup"):
        raise ValueError(f"{spec!r}: {kind} names its numbers itself; write {after!r}")
    if kind in (*_OPEN, "lookup", "model") and not rest.strip():
        example = next(text for text in SPECS if text.startswith(kind))
        raise ValueError(f"{spec!r} lacks what comes after the colon: {example}")
    return _Choice(kind, rest.strip(), names)


def _make(
    choice: _Choice,
    names: Sequence[str],
    *,
    timeout: float,
    folder: Path | None,
    num_workers: int | None,
    device: str,
    data: Mapping[str, Any],
) -> Oracle:
    """Make one oracle; what it needs is imported here alone."""
    kind, rest = choice.kind, choice.rest
    if kind == "oracle":
        given: Oracle = choice.oracle
        return given
    if kind == "lookup":
        return _lookup(choice, names, num_workers, data)
    if kind == "model":
        from pyg_crysdiff.design.oracles.model import ModelOracle  # noqa: PLC0415

        return ModelOracle(rest, device=device)
    if choice.open:
        return _users(choice, names, timeout, folder, num_workers)
    return _potential(choice, num_workers, device)


def _users(
    choice: _Choice,
    names: Sequence[str],
    timeout: float,
    folder: Path | None,
    num_workers: int | None,
) -> Oracle:
    """Make an oracle of something of the user's, which gives what it is asked for."""
    if choice.kind == "folder":
        from pyg_crysdiff.design.oracles.folder import FolderOracle  # noqa: PLC0415

        return FolderOracle(choice.rest, names)
    running: dict[str, Any] = {"timeout": timeout, "num_workers": num_workers}
    if choice.kind == "command":
        from pyg_crysdiff.design.oracles.command import CommandOracle  # noqa: PLC0415

        jobs = None if folder is None else folder / "jobs"
        return CommandOracle(choice.rest, names, folder=jobs, **running)
    from pyg_crysdiff.design.oracles.function import FunctionOracle  # noqa: PLC0415

    function = choice.rest if choice.oracle is None else choice.oracle
    made = FunctionOracle(function, names, **running)
    made.check()
    return made


def _lookup(
    choice: _Choice, names: Sequence[str], num_workers: int | None, data: Mapping[str, Any]
) -> Oracle:
    from pyg_crysdiff.data.parts import open_parts  # noqa: PLC0415
    from pyg_crysdiff.design.oracles.lookup import LookupOracle  # noqa: PLC0415

    parts = open_parts(choice.rest, **data)
    first, *others = [dataset.property_names for dataset in parts.values()]
    there = [name for name in first if all(name in some for some in others)]
    chosen = [name for name in names if name in there]
    if not chosen or (choice.names and len(chosen) < len(names)):
        has = ", ".join(there) or "no numbers"
        raise ValueError(f"{choice} has {has}; wanted is {', '.join(names)}")
    known = {part: dataset.crystals() for part, dataset in parts.items()}
    return LookupOracle(known, chosen, num_workers=num_workers)


def _potential(choice: _Choice, num_workers: int | None, device: str) -> Oracle:
    """Make the oracle of ``JUDGE[,unrelaxed][:HULLFILE]``."""
    from pyg_crysdiff.design.oracles.potential import UNRELAXED, PotentialOracle  # noqa: PLC0415
    from pyg_crysdiff.relaxation.judges import JUDGES, find_judge  # noqa: PLC0415

    name, _, hull = (choice.kind, "", choice.rest)
    if name in _WITH_NAME:
        second, _, hull = choice.rest.partition(":")
        name = f"{name}:{second}"
    name, comma, how = name.partition(",")
    if comma and how != "unrelaxed":
        raise ValueError(f"{choice}: after the comma only 'unrelaxed' may stand, not {how!r}")
    try:
        judge = find_judge(name)
    except ValueError as error:
        if choice.kind.partition(",")[0] in (*_WITH_NAME, *JUDGES):
            raise
        raise ValueError(f"unknown oracle {choice.kind!r}: {', '.join(SPECS)}") from error
    return PotentialOracle(
        judge, hull or None, settings=UNRELAXED if comma else None, num_workers=num_workers,
        device=device,
    )  # fmt: skip


def _together(oracles: Sequence[Oracle], names: Sequence[str], folder: Path | None) -> Oracle:
    """Put oracles together, and check that what is wanted is given."""
    keep = None if folder is None else folder / "answers.jsonl"
    one = oracles[0] if len(oracles) == 1 else CombinedOracle(oracles, keep=keep)
    if missing := [name for name in names if name not in one.names]:
        gives = "; ".join(f"{title_of(o)} gives {', '.join(o.names)}" for o in oracles)
        hull = ", with a hull file (chgnet:HULLFILE)" if "e_above_hull" in missing else ""
        raise ValueError(f"no oracle gives {', '.join(missing)}{hull}: {gives}")
    return one
