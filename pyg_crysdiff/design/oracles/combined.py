"""Several oracles, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer, Oracle
from pyg_crysdiff.storage import JsonLines


class CombinedOracle:
    """Oracles that are asked in order; a later one gets the relaxed crystal of an earlier one.

    The numbers are put together. A crystal at which one oracle fails is failed, and the later ones
    are not asked; the problem names the oracle. It is under way as long as one of them has it.

    What an oracle has answered is remembered, so that no oracle is asked again for a crystal that
    waits at a later one (a queue of jobs): in this process, and with ``keep`` by later ones too.

    Args:
        oracles: At least two, with different names of numbers.
        keep: File of lines in which the answers are kept; None keeps them in memory alone.

    Raises:
        ValueError: If two give a number of one name.
    """

    def __init__(self, oracles: Sequence[Oracle], *, keep: str | Path | None = None) -> None:
        self._oracles = list(oracles)
        self.names = tuple(name for oracle in oracles for name in oracle.names)
        if twice := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(f"two oracles give {', '.join(twice)}; say which one does")
        self.title = ", then ".join(map(title_of, oracles))
        self.identity = " | ".join(oracle.identity for oracle in oracles)
        self._file = None if keep is None else JsonLines(keep)
        self._given: dict[tuple[str, str, str], Answer] = {}
        for value in self._file.read() if self._file is not None else ():
            with suppress(KeyError, TypeError, ValueError):  # damaged
                oracle, key, asked = value["of"]
                self._given[oracle, key, asked] = _read(value)

    @property
    def own_scale(self) -> tuple[str, ...]:
        """Numbers of an own scale, of all of them (:class:`pyg_crysdiff.design.Oracle`)."""
        return tuple(name for o in self._oracles for name in getattr(o, "own_scale", ()))

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`."""
        under_way = {key: _Way(crystal) for key, crystal in crystals.items()}
        for number, oracle in enumerate(self._oracles):
            passed: dict[str, _Way] = {}
            for key, answer in self._asked(oracle, under_way):
                way = under_way[key]
                way.add(oracle, answer)
                if answer.problem or number == len(self._oracles) - 1:
                    yield key, way.answer()
                else:
                    passed[key] = way
            under_way = passed

    def _asked(self, oracle: Oracle, ways: Mapping[str, _Way]) -> Iterator[tuple[str, Answer]]:
        """Yield what an oracle says, of what it has said before without asking it."""
        new: dict[str, Crystal] = {}
        marks = {key: (oracle.identity, key, way.crystal.digest()) for key, way in ways.items()}
        for key, way in ways.items():
            if marks[key] in self._given:
                yield key, _with_info(self._given[marks[key]], way.crystal)
            else:
                new[key] = way.crystal
        if not new:
            return
        for key, answer in oracle.ask(new):
            self._given[marks[key]] = answer
            if self._file is not None:
                self._file.add([{"of": marks[key], **_plain(answer)}])
            yield key, answer


@dataclass
class _Way:
    """A crystal on its way through the oracles."""

    crystal: Crystal
    relaxed: Crystal | None = None
    values: dict[str, float] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    def add(self, oracle: Oracle, answer: Answer) -> None:
        """Take what an oracle said."""
        title = title_of(oracle)
        self.values |= answer.values
        self.facts.append({"oracle": title, **answer.facts})
        self.problem = f"{title}: {answer.problem}" if answer.problem else ""
        if answer.crystal is not None:
            self.crystal = self.relaxed = answer.crystal

    def answer(self) -> Answer:
        """Return the answer of all."""
        if self.problem:
            facts = {"oracles": self.facts, "values": dict(self.values)}
            return Answer({}, self.problem, self.relaxed, facts)
        return Answer(dict(self.values), "", self.relaxed, {"oracles": self.facts})


def title_of(oracle: Oracle) -> str:
    """Return how an oracle is called in messages."""
    return str(getattr(oracle, "title", oracle.identity))


def _plain(answer: Answer) -> dict[str, Any]:
    """Return what JSON can hold of an answer, to the last bit; ``info`` is left out."""
    names, one = ("lattice", "frac_coords", "atomic_numbers"), answer.crystal
    crystal = None if one is None else {name: getattr(one, name).tolist() for name in names}
    return {
        "values": dict(answer.values), "problem": answer.problem, "facts": dict(answer.facts),
        "crystal": crystal,
    }  # fmt: skip


def _read(value: Mapping[str, Any]) -> Answer:
    crystal = None if value["crystal"] is None else Crystal(**value["crystal"])
    return Answer(dict(value["values"]), str(value["problem"]), crystal, dict(value["facts"]))


def _with_info(answer: Answer, asked: Crystal) -> Answer:
    """Return an answer with what is known of the crystal that was asked about."""
    if (one := answer.crystal) is None:
        return answer
    crystal = Crystal(one.lattice, one.frac_coords, one.atomic_numbers, dict(asked.info))
    return Answer(answer.values, answer.problem, crystal, answer.facts)
