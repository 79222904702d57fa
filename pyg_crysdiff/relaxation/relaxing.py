"""Relaxations that are kept as they end, and shared among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.engine import Engine, Failed, Patience, Serial, chosen_engine, current_engine
from pyg_crysdiff.progress import bar
from pyg_crysdiff.relaxation.batches import Ended, relax_all
from pyg_crysdiff.relaxation.judges import Judge, find_judge
from pyg_crysdiff.relaxation.records import Relaxation, RelaxSettings
from pyg_crysdiff.relaxation.store import RelaxationStore

_CHUNK = 8  # crystals that a process takes at a time


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
            one process does all. An engine that is in charge
            (:func:`pyg_crysdiff.engine.using_engine`) goes before it.
        device: Device of PyTorch.
        batch_atoms: Most atoms in a batch; None for what suits the device.
        progress: Show progress.

    Returns:
        A record for each crystal, in order; equal crystals are relaxed once.

    Raises:
        ValueError: If there is no such judge.
        ModuleNotFoundError: If its package is missing.
    """
    judge, settings = find_judge(judge), settings or RelaxSettings()
    store = RelaxationStore(cache_dir, judge, settings)
    keys = [crystal.digest() for crystal in crystals]
    known = store.read()
    missing = {key: c for key, c in zip(keys, crystals, strict=True) if key not in known}
    # Processes of this machine would share its one GPU.
    engine = current_engine(num_workers) if device == "cpu" else chosen_engine() or Serial()
    work = _here if isinstance(engine, Serial) else partial(_by_workers, engine)
    found = work(list(missing.values()), judge, settings, device, batch_atoms)
    order = list(missing)
    with bar(
        label=f"relaxing with {judge.title}", total=len(missing), show=progress and bool(missing)
    ) as shown:
        for part in found:
            store.add({order[end.index]: end.record for end in part if end.final})
            known |= {order[end.index]: end.record for end in part}
            shown.update(len(part))
    return [known[key].with_info_of(c) for key, c in zip(keys, crystals, strict=True)]


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


_Found = Sequence[Ended]


def _here(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, device: str,
    batch_atoms: int | None,
) -> Iterator[_Found]:  # fmt: skip
    for end in relax_all(crystals, judge, settings, device=device, batch_atoms=batch_atoms):
        yield [end]


def _by_workers(
    engine: Engine, crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings,
    device: str, batch_atoms: int | None,
) -> Iterator[_Found]:  # fmt: skip
    """Let an engine relax crystals, and those of a group that it gave up one by one."""
    work = partial(
        _relax_chunk, judge=judge, settings=settings, device=device, batch_atoms=batch_atoms
    )
    everything = range(len(crystals))
    groups: list[Sequence[int]] = [everything[s : s + _CHUNK] for s in everything[::_CHUNK]]
    while groups:
        now, groups = groups, []
        patience = Patience(killing=1 if len(now[0]) > 1 else 3)  # of a group all are tried again
        given = ([crystals[i] for i in group] for group in now)
        for place, found in engine.run(work, given, patience=patience):
            group = now[place]
            if not isinstance(found, Failed):
                yield [end._replace(index=group[end.index]) for end in found]
            elif len(group) > 1:
                groups += [[i] for i in group]
            else:
                record = Relaxation.failed(found.reason, judge.title)
                yield [Ended(group[0], record, final=False)]


def _relax_chunk(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, device: str,
    batch_atoms: int | None,
) -> list[Ended]:  # fmt: skip
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)  # one process per core
    return list(relax_all(crystals, judge, settings, device=device, batch_atoms=batch_atoms))
