"""What an oracle is, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from pyg_crysdiff.data.crystal import Crystal

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    """What the evaluation of one crystal brought.

    Attributes:
        values: The numbers by name; empty where the evaluation failed.
        problem: Why it failed, in one line; empty where it did not.
        crystal: The relaxed crystal of an oracle that relaxes; else None.
        facts: Where the numbers come from, as JSON can hold it: judge and version, seconds, the
            known crystal that was looked up, the folder of a job.
    """

    values: Mapping[str, float]
    problem: str = ""
    crystal: Crystal | None = None
    facts: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def failed(cls, problem: str, **facts: Any) -> Answer:
        """Return the answer of an evaluation that failed."""
        return cls({}, " ".join(problem.split()) or "failed without a message", None, facts)


class Oracle(Protocol):
    """Anything that evaluates crystals: no base class is needed.

    An evaluation that fails is an answer with a problem. An exception says that none can be made
    at all, such as a missing package.

    An oracle may also have an attribute ``own_scale``: names of numbers that cannot be compared
    with values of the same name in a user's data, such as energies above a hull of its own. These
    values are not learnt from then.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers that it gives."""

    @property
    def identity(self) -> str:
        """What decides its answers; those of oracles of equal identity are the same."""

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """Yield key and answer of crystals, as they complete.

        A key that is not yielded is still under way, as in a queue of jobs. Asked again with the
        same key the oracle goes on, and starts nothing twice.

        Args:
            crystals: By keys that can be names of files, such as ``00017``.
        """
