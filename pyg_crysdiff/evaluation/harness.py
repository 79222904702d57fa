"""One evaluation for everybody's samples.

Data flow: entries of a sample file -> one table with a row per entry (validity,
composition, property, uniqueness, novelty, known value, stability) -> metrics with bootstrap
intervals and definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyg_crysdiff.evaluation.definitions import VALID_STRUCTURE, definition
from pyg_crysdiff.evaluation.protocol import TASKS, Entry, Evaluation, Protocol
from pyg_crysdiff.evaluation.table import describe, valid_crystals

__all__ = ["TASKS", "Entry", "Evaluation", "Protocol", "describe", "evaluate", "valid_crystals"]


def evaluate(
    samples: Sequence[Entry], protocol: Protocol | None = None, **fields: Any
) -> Evaluation:
    """Score the entries of a sample file.

    ``evaluate(samples, train=crystals, num_bootstrap=0)`` is
    ``evaluate(samples, Protocol(train=crystals, num_bootstrap=0))``.

    Broken and invalid entries stay in every denominator that counts all entries. Nothing in a
    sample can make this fail.

    Args:
        samples: Crystals and broken entries, in the order of the file.
        protocol: What to measure against; None for the defaults of :class:`Protocol`.
        **fields: Fields of a :class:`Protocol`, in its place.

    Raises:
        TypeError: If there is a protocol and fields beside it, or no field of such a name.
        ValueError: If there are no samples, a field is bad, or reconstruction gets lists of
            unequal length.
    """
    if protocol is not None and fields:
        raise TypeError(
            f"evaluate takes a protocol or its fields, not both; got {', '.join(fields)} beside "
            "a protocol (dataclasses.replace changes a protocol)"
        )
    return _scores(samples, protocol or Protocol(**fields))


def _scores(samples: Sequence[Entry], protocol: Protocol) -> Evaluation:
    if not samples:
        raise ValueError("there are no samples to evaluate")
    # CDVAE's validity asks for fingerprints; they cost something, so only where COV is wanted.
    prints = None
    if protocol.cutoffs and protocol.reference:
        from pyg_crysdiff.evaluation.fingerprints import fingerprint_crystals  # noqa: PLC0415

        prints = fingerprint_crystals(
            samples, num_workers=protocol.num_workers, progress=protocol.progress
        )
    table = describe(samples, protocol, prints)
    judged = None
    if protocol.stability is not None:
        from pyg_crysdiff.evaluation.judged_table import add_judgements  # noqa: PLC0415

        table, judged = add_judgements(table, samples, protocol)
    # SciPy's statistics take a second to import; nothing before this needs them.
    from pyg_crysdiff.evaluation import hits  # noqa: PLC0415
    from pyg_crysdiff.evaluation import metrics as measured  # noqa: PLC0415

    found = measured.validity_metrics(table, protocol)
    found |= measured.distribution_metrics(table, protocol)
    if prints is not None:
        found |= measured.coverage_of(prints, protocol)
    if "first" in table:
        found |= measured.set_metrics(table, protocol)
    if protocol.stability is not None:
        from pyg_crysdiff.evaluation.sun import sun_metrics  # noqa: PLC0415

        found |= measured.stability_metrics(table, protocol) | sun_metrics(table, protocol)
    if protocol.evaluator is not None:
        found |= measured.property_metrics(table, protocol)
        found |= hits.predicted_hits(table, protocol)
    if protocol.lookup:
        found |= hits.lookup_metrics(table, protocol)
    if protocol.genbench is not None:
        from pyg_crysdiff.evaluation.genbench.metrics import families  # noqa: PLC0415

        found |= families(samples, table, protocol, prints)
    if protocol.task == "reconstruction":
        found |= measured.reconstruction_metrics(samples, table, protocol)
    definitions = {key: definition(key) for key in found}
    if protocol.validity == "structure":
        definitions["valid"] = VALID_STRUCTURE
    if judged is None:
        return Evaluation(found, definitions, table)
    from pyg_crysdiff.evaluation.plausibility import implausible  # noqa: PLC0415

    facts = {"judges": judged.facts, "warnings": implausible(table, judged.facts)}
    return Evaluation(found, definitions, table, facts, judged.relaxed)
