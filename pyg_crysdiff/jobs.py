"""Sampling, relaxing and scoring as functions of plain values, for workflow managers.

What goes in and comes out can be written as JSON: structures as dictionaries of pymatgen
(``Structure.as_dict``), paths as text, settings as numbers, texts, lists and dictionaries. So
jobflow, quacc, Parsl and the like can keep, send and repeat them::

    from jobflow import job
    from pyg_crysdiff import jobs

    sampled = job(jobs.sample)("perov5-cds", 20)
    relaxed = job(jobs.relax)(sampled.output, judge="chgnet")
    scored = job(jobs.score)(relaxed.output["structures"], reference="perov5", train="perov5")

Where a manager turns such dictionaries into pymatgen's structures on the way, these are taken too.
Within a job, :func:`pyg_crysdiff.engine.using_engine` says who does the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff import data, evaluation, relaxation, sampling
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.names import DATASET_NAMES
from pyg_crysdiff.diffusion.sampler import Sampler

Structures = Sequence[Mapping[str, Any] | None]
_PATHS = ("cache_dir", "database")  # fields of a protocol


def sample(
    checkpoint: str,
    num_samples: int,
    *,
    target: Any = "min",
    control: Mapping[str, Any] | None = None,
    sampler: str | Mapping[str, Any] | None = None,
    num_atoms: Any = None,
    **options: Any,
) -> list[dict[str, Any] | None]:
    """Generate crystals.

    Args:
        checkpoint: File, or name of a checkpoint that comes with the package.
        num_samples: Number of crystals.
        target: As in :func:`pyg_crysdiff.sampling.sample`; an interval may be a list.
        control: Fields of :class:`pyg_crysdiff.sampling.Control`; ``template`` is a dictionary of
            the fields of :class:`pyg_crysdiff.sampling.Template`, its crystal a structure.
        sampler: ``"fast"``, ``"paper"`` or the fields of a :class:`pyg_crysdiff.Sampler`.
        num_atoms: As there; a range may be a list, numbers in weights may be text.
        **options: ``seed``, ``guidance``, ``batch_size``, ``device``, ``precision``, ``out``,
            ``extrapolate`` and ``trusted``, as there.

    Returns:
        Structures, with their provenance in ``properties``; None for one that is not finite.

    Raises:
        ValueError: If the request cannot be met.
        FileNotFoundError: If there is no checkpoint.
    """
    if isinstance(target, Mapping):
        target = _with_tuples(target)
    if isinstance(num_atoms, list):
        num_atoms = tuple(num_atoms)
    elif isinstance(num_atoms, Mapping):  # JSON has no other keys than texts
        num_atoms = {int(n): weight for n, weight in num_atoms.items()}
    crystals = sampling.sample(
        checkpoint, num_samples, target=target, control=_control(control), num_atoms=num_atoms,
        sampler=Sampler(**sampler) if isinstance(sampler, Mapping) else sampler,
        **{"progress": False, **options},
    )  # fmt: skip
    return [as_structure(crystal) for crystal in crystals]


def relax(
    structures: Structures,
    *,
    judge: str = "chgnet",
    settings: Mapping[str, Any] | None = None,
    cache_dir: str | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
) -> dict[str, list[dict[str, Any] | None]]:
    """Relax crystals by a potential.

    Args:
        structures: Structures; None stays None.
        judge: Name of the potential (:func:`pyg_crysdiff.relaxation.find_judge`).
        settings: Fields of :class:`pyg_crysdiff.relaxation.RelaxSettings`.
        cache_dir: Folder that keeps every result, from which the same call goes on.
        num_workers: Processes; None for all cores.
        device: Device.

    Returns:
        ``structures``, the relaxed ones in order, None where a relaxation failed; ``records``, the
        other fields of :class:`pyg_crysdiff.relaxation.Relaxation`, energies in eV/atom.

    Raises:
        ValueError: If there is no such judge, or a structure is no ordered crystal.
        ModuleNotFoundError: If the judge's package is missing.
    """
    given = [(i, _crystal(s)) for i, s in enumerate(structures) if s is not None]
    found = relaxation.relax(
        [crystal for _, crystal in given], judge, relaxation.RelaxSettings(**(settings or {})),
        cache_dir=None if cache_dir is None else Path(cache_dir), num_workers=num_workers,
        device=device,
    )  # fmt: skip
    out: dict[str, list[Any]] = {
        "structures": [None] * len(structures),
        "records": [None] * len(structures),
    }
    for (i, _), record in zip(given, found, strict=True):
        out["records"][i] = {k: v for k, v in record.to_dict().items() if k != "crystal"}
        if record.crystal is not None:
            out["structures"][i] = as_structure(record.crystal)
    return out


def score(
    structures: Structures,
    *,
    reference: str | Structures = (),
    train: str | Structures = (),
    evaluator: str | None = None,
    stability: Mapping[str, Any] | None = None,
    **protocol: Any,
) -> dict[str, Any]:
    """Score crystals.

    Args:
        structures: Structures; None counts as a sample that could not be read.
        reference: Name of a published data set (its test part), a file, or structures.
        train: The same (its training part), for novelty and percentiles.
        evaluator: File or name of a property evaluator.
        stability: Fields of :class:`pyg_crysdiff.evaluation.Stability`; None for no relaxations.
        **protocol: Further fields of :class:`pyg_crysdiff.evaluation.Protocol` as plain values.

    Returns:
        ``metrics``: name to ``value``, ``low`` and ``high``; ``definitions``: name to text;
        ``table``: a dictionary for each structure. What is not a number is None.

    Raises:
        ValueError: If there is nothing to score, or a field is bad.
    """
    for name in _PATHS:
        if protocol.get(name) is not None:
            protocol[name] = Path(protocol[name])
    if evaluator is not None:
        from pyg_crysdiff.property.judges import find_evaluator  # noqa: PLC0415  (PyG)

        protocol["evaluator"] = find_evaluator(evaluator, None)
    if stability is not None:
        protocol["stability"] = evaluation.Stability(**_with_paths(stability))
    found = evaluation.evaluate(
        _entries(structures), reference=_known(reference, "test"), train=_known(train, "train"),
        **{"progress": False, **protocol},
    )  # fmt: skip
    return {
        "metrics": {
            k: {n: _plain(x) for n, x in vars(e).items()} for k, e in found.metrics.items()
        },
        "definitions": found.definitions,
        "table": [_plain(row) for row in found.table.to_dict("records")],
    }


def as_structure(crystal: Crystal) -> dict[str, Any] | None:
    """Return pymatgen's dictionary of a crystal, ``info`` in ``properties``; None if not finite."""
    if not crystal.is_finite:
        return None
    structure = crystal.to_structure()
    structure.properties = dict(crystal.info)
    found: dict[str, Any] = _plain(structure.as_dict())
    return found


def _crystal(structure: Any) -> Crystal:
    """Return the crystal of a structure, or of its dictionary."""
    from pymatgen.core import IStructure, Structure  # noqa: PLC0415

    if not isinstance(structure, IStructure):
        structure = Structure.from_dict(dict(structure))
    return Crystal.from_structure(structure, dict(structure.properties))


def _entries(structures: Structures) -> list[Crystal | BrokenEntry]:
    return [
        BrokenEntry(i, "no structure") if structure is None else _crystal(structure)
        for i, structure in enumerate(structures)
    ]


def _known(given: str | Structures, part: str) -> list[Crystal]:
    """Return known crystals of a data set, of a file, or as they were given."""
    if not isinstance(given, str):
        return [entry for entry in _entries(given) if isinstance(entry, Crystal)]
    if given in DATASET_NAMES:
        return data.load_dataset(given, part).crystals()
    return [entry for entry in data.read_crystals(given) if isinstance(entry, Crystal)]


def _control(fields: Mapping[str, Any] | None) -> Any:
    if fields is None:
        return None
    control = _with_tuples(fields)
    if control.get("template") is not None:
        template = _with_tuples(control["template"])
        template["crystal"] = _crystal(template["crystal"])
        control["template"] = sampling.Template(**template)
    return sampling.Control(**control)


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with tuples where JSON has lists."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}


def _with_paths(stability: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(stability)
    for name in ("hull", "cache_dir", "energies"):
        value = fields.get(name)
        if isinstance(value, str):
            fields[name] = Path(value)
        elif isinstance(value, Mapping):
            fields[name] = {judge: Path(path) for judge, path in value.items()}
    return fields


def _plain(value: Any) -> Any:
    """Return what JSON can hold; what is not a number becomes None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
