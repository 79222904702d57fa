"""What is made of the crystals of a row: symmetrised copies, and those chosen of many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.property.selection import select
from pyg_crysdiff.sampling import symmetrised
from pyg_crysdiff.storage import facts_digest, kept, read_keyed, write_json


def symmetrised_copies(
    crystals: Sequence[Crystal], symprec: float, folder: Path, progress: bool
) -> list[Crystal]:
    """Return crystals moved to the positions of their space groups; see :func:`symmetrised`.

    Args:
        crystals: As drawn.
        symprec: Distance up to which positions count as equivalent, Angstrom.
        folder: Gets ``samples.extxyz`` with the copies.
        progress: Show a progress bar.
    """
    copies = _moved(crystals, symprec, progress)
    write_samples(copies, folder)
    return copies


def choose(
    candidates: Sequence[Crystal],
    count: int,
    settings: Settings,
    target: float,
    predictor: PropertyModel,
    file: Path,
    progress: bool,
) -> list[Crystal]:
    """Return the chosen candidates, moved to the positions of their space groups if asked for.

    Args:
        candidates: All draws.
        count: Number of crystals wanted.
        settings: ``symmetrise`` and ``copies``.
        target: Wanted value.
        predictor: Property model that chooses.
        file: JSON file that keeps the choice for the next run with the same candidates.
        progress: Show progress bars.
    """
    facts = [count, settings.symmetrise, settings.copies, target, *predictor.identity]
    key = facts_digest(facts, (crystal.digest() for crystal in candidates))

    def read(path: Path) -> list[int]:
        best = [int(i) for i in read_keyed(path, key)["chosen"]]
        if not all(0 <= i < len(candidates) for i in best):
            raise ValueError(f"{path} is damaged")
        return best

    def make() -> list[int]:
        pool = _moved(candidates, settings.symmetrise, progress)
        return select(pool, count, predictor, target, copies=settings.copies, progress=progress)

    def write(path: Path, best: list[int]) -> None:
        write_json(path, {"key": key, "chosen": best})

    chosen = [candidates[i] for i in kept(file, read, make, write)]
    return _moved(chosen, settings.symmetrise, progress)


def _moved(crystals: Sequence[Crystal], symprec: float, progress: bool) -> list[Crystal]:
    """Move crystals to the positions of their space groups, or not where ``symprec`` is 0."""
    if symprec <= 0:
        return list(crystals)
    move = partial(symmetrised, symprec=symprec, primitive=True)
    return parallel_map(move, list(crystals), progress=progress, label="symmetrising")


def write_samples(crystals: Sequence[Crystal], folder: Path) -> None:
    """Write the crystals of a row as ``samples.extxyz``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_extxyz(crystals, folder / "samples.extxyz")
