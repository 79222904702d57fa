"""The known numbers of the known crystal that a crystal is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.oracles.answering import some_names, usable
from pyg_crysdiff.evaluation.lookup import has_value, look_up
from pyg_crysdiff.known.cells import PrimitiveCells
from pyg_crysdiff.storage import facts_digest

NO_MATCH = "matches no known crystal"


class LookupOracle:
    """Known crystals with their numbers: an evaluation is a look-up.

    pymatgen's StructureMatcher says which known crystal a crystal is
    (:func:`pyg_crysdiff.evaluation.lookup.look_up`). One that matches none is a failed evaluation.
    Known crystals without all of the numbers take no part. The facts of an answer are ``part``,
    ``index`` within the part and ``material_id`` of the known crystal.

    Args:
        parts: Name of a part to its crystals, with the numbers in ``info``.
        names: Names of the numbers.
        num_workers: Processes; None for all cores. An engine in charge takes their place.

    Raises:
        ValueError: If no known crystal has all of the numbers.
    """

    def __init__(
        self,
        parts: Mapping[str, Sequence[Crystal]],
        names: Sequence[str],
        *,
        num_workers: int | None = None,
    ) -> None:
        self.names = some_names(names)
        self.title = f"look-up in {', '.join(parts)}"
        rows = [(part, i, c) for part, some in parts.items() for i, c in enumerate(some)]
        self._rows = [r for r in rows if all(has_value(r[2], name) for name in self.names)]
        if not self._rows:
            raise ValueError(f"of {len(rows)} known crystals none has {' and '.join(self.names)}")
        self._known = [crystal for _, _, crystal in self._rows]
        self._cells = PrimitiveCells(num_workers=num_workers)
        self._num_workers = num_workers

    @cached_property
    def identity(self) -> str:
        """Digest of the known crystals and their numbers."""
        facts = [
            [part, index, crystal.digest(), *(float(crystal.info[name]) for name in self.names)]
            for part, index, crystal in self._rows
        ]
        return f"lookup {facts_digest(facts)[:16]} -> {','.join(self.names)}"

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`."""
        good, bad = usable(crystals)
        yield from bad.items()
        found = look_up(
            list(good.values()), self._known, self.names[0],
            cells=self._cells, num_workers=self._num_workers,
        )  # fmt: skip
        for key, index in zip(good, found.index.tolist(), strict=True):
            yield key, Answer.failed(NO_MATCH) if index < 0 else self._answer(index)

    def _answer(self, row: int) -> Answer:
        part, index, crystal = self._rows[row]
        facts: dict[str, Any] = {"part": part, "index": index}
        if "material_id" in crystal.info:
            facts["material_id"] = str(crystal.info["material_id"])
        return Answer({name: float(crystal.info[name]) for name in self.names}, facts=facts)
