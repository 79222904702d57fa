"""Relaxations that are kept as they end, and shared among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.engine import Engine, Failed, Patience, Serial, chosen_engine, current_engine
from pyg_crysdiff.progress import bar
from pyg_crysdiff.relaxation.batches import Ended, relax_all
from pyg_crysdiff.relaxation.judges import Judge, find_judge
from pyg_crysdiff.relaxation.records import Relaxation, RelaxSettings
from pyg_crysdiff.relaxation.store import RelaxationStore

# Crystals that are relaxed together, wherever: a network in single precision rounds by its batch.
_GROUP, _GPU_GROUP = 16, 500


def relax(
    crystals: Sequence[Crystal],
    judge: str | Judge = "chgnet",
    settings: RelaxSettings | None = None,
    *,
    cache_dir: Path | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
    batch_atoms: int | None = None,
    progress: bool = False,
) -> list[Relaxation]:
    """Relax crystals, many at a time.

    Args:
        crystals: Crystals of any kind; one that cannot be relaxed gives a record that says why.
        judge: Name of a potential (:func:`find_judge`), or a judge.
        settings: When a relaxation ends; None for the defaults of :class:`RelaxSettings`.
        cache_dir: Folder in which every result is kept as it comes, by the content of the crystal,
            the judge and the settings; the same call goes on there. What failed for want of memory
            or by an error of the machine is tried again then. None keeps nothing.
        num_workers: Processes on the CPU; None for all cores, 0 or 1 for none. On another device
            this process does all. An engine that :func:`pyg_crysdiff.engine.using_engine` has put
            in charge takes the place of both.
        device: Device of PyTorch.
        batch_atoms: Most atoms in a batch; None for what suits the device.
        progress: Show progress.

    Returns:
        A record for each crystal, in order; equal crystals are relaxed once.

    Raises:
        ValueError: If there is no such judge.
        ModuleNotFoundError: If its package is missing.
    """
    found = dict(
        relax_in_turn(
            crystals, judge, settings, cache_dir=cache_dir, num_workers=num_workers,
            device=device, batch_atoms=batch_atoms, progress=progress,
        )
    )  # fmt: skip
    return [found[i] for i in range(len(crystals))]


def relax_in_turn(
    crystals: Sequence[Crystal],
    judge: str | Judge = "chgnet",
    settings: RelaxSettings | None = None,
    *,
    cache_dir: Path | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
    batch_atoms: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, Relaxation]]:
    """Yield the place of every crystal and its record, as relaxations end; known ones first.

    Arguments and errors are those of :func:`relax`. What was yielded is kept in ``cache_dir``.
    """
    judge, settings = find_judge(judge), settings or RelaxSettings()
    store = RelaxationStore(cache_dir, judge, settings)
    known, missing = store.read(), dict[str, list[int]]()
    for i, crystal in enumerate(crystals):
        if (key := crystal.digest()) in known:
            yield i, known[key].with_info_of(crystal)
        else:
            missing.setdefault(key, []).append(i)
    order, work = list(missing), _Work(judge, settings, device, batch_atoms)
    engine, group = _engine(judge, device, num_workers, len(missing))
    label = f"relaxing with {judge.title}"
    with bar(label=label, total=len(missing), show=progress and bool(missing)) as shown:
        todo = [crystals[places[0]] for places in missing.values()]
        for part in _ended(todo, work, engine, group):
            store.add({order[end.place]: end.record for end in part if end.final})
            shown.update(len(part))
            for end in part:
                for i in missing[order[end.place]]:
                    yield i, end.record.with_info_of(crystals[i])


def single_points(
    crystals: Sequence[Crystal],
    judge: str | Judge = "chgnet",
    *,
    cache_dir: Path | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
    batch_atoms: int | None = None,
    progress: bool = False,
) -> list[Relaxation]:
    """Return energy, largest force and stress of crystals as they are.

    Arguments and errors are those of :func:`relax`; the records have no steps, and
    ``energy == energy_before``.
    """
    return relax(
        crystals, judge, RelaxSettings(steps=0), cache_dir=cache_dir, num_workers=num_workers,
        device=device, batch_atoms=batch_atoms, progress=progress,
    )  # fmt: skip


def _engine(judge: Judge, device: str, num_workers: int | None, count: int) -> tuple[Engine, int]:
    """Return where crystals are relaxed, and how many together."""
    chosen = chosen_engine()
    if device != "cpu":  # one process holds the device, unless somebody asked for more
        return (Serial(), max(1, count)) if chosen is None else (chosen, _GPU_GROUP)
    group = 1 if judge.cpu_atoms == 1 else _GROUP
    alone = count < 2 or (chosen is None and count <= group)  # not worth a process
    return Serial() if alone else current_engine(num_workers), group


def _ended(
    crystals: Sequence[Crystal], work: _Work, engine: Engine, group: int
) -> Iterator[Sequence[Ended]]:
    """Yield relaxations as they end, many or one at a time."""
    suspects: list[int] = []  # of groups that failed, with one crystal that is to blame
    for size, places in ((group, range(len(crystals))), (1, suspects)):
        parts = [places[start : start + size] for start in range(0, len(places), size)]
        if isinstance(engine, Serial):
            for part in parts:
                for end in work.each([crystals[i] for i in part]):
                    yield [end._replace(place=part[end.place])]
            continue
        items = [[crystals[i] for i in part] for part in parts]
        patience = Patience(killing=1 if size > 1 else 3)  # of a group each is tried again
        for number, found in engine.run(work, items, patience=patience):
            part = parts[number]
            if not isinstance(found, Failed):
                yield [end._replace(place=part[end.place]) for end in found]
            elif len(part) > 1:
                suspects += part
            else:
                record = Relaxation.failed(found.reason, work.judge.title)
                yield [Ended(part[0], record, final=False)]


@dataclass(frozen=True)
class _Work:
    """What a worker does with some crystals."""

    judge: Judge
    settings: RelaxSettings
    device: str
    batch_atoms: int | None

    def each(self, crystals: Sequence[Crystal]) -> Iterator[Ended]:
        return relax_all(
            crystals, self.judge, self.settings, device=self.device, batch_atoms=self.batch_atoms
        )

    def __call__(self, crystals: Sequence[Crystal]) -> list[Ended]:
        return list(self.each(crystals))
