"""Relaxations that are kept as they end, and shared among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.parallel import available_cores, parallel_map
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
            one process does all.
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
    work = _in_processes if device == "cpu" and _workers(num_workers) > 1 else _here
    found = work(list(missing.values()), judge, settings, num_workers, device, batch_atoms)
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


def _workers(num_workers: int | None) -> int:
    return available_cores() if num_workers is None else num_workers


def _here(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, num_workers: int | None,
    device: str, batch_atoms: int | None,
) -> Iterator[_Found]:  # fmt: skip
    del num_workers
    for end in relax_all(crystals, judge, settings, device=device, batch_atoms=batch_atoms):
        yield [end]


def _in_processes(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, num_workers: int | None,
    device: str, batch_atoms: int | None,
) -> Iterator[_Found]:  # fmt: skip
    work = partial(
        _relax_chunk, judge=judge, settings=settings, device=device, batch_atoms=batch_atoms
    )
    starts = list(range(0, len(crystals), _CHUNK))
    workers = _workers(num_workers)
    for first in range(0, len(starts), workers):
        chunks = [crystals[s : s + _CHUNK] for s in starts[first : first + workers]]
        parts = parallel_map(
            work, chunks, num_workers=num_workers, progress=False, serial_below=2, chunksize=1
        )
        for start, part in zip(starts[first : first + workers], parts, strict=True):
            yield [end._replace(index=start + end.index) for end in part]


def _relax_chunk(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, device: str,
    batch_atoms: int | None,
) -> list[Ended]:  # fmt: skip
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)  # one process per core
    return list(relax_all(crystals, judge, settings, device=device, batch_atoms=batch_atoms))
