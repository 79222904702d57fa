"""CHGNet's energies and relaxations, one crystal at a time, kept on disk as they end.

CHGNet: Deng et al., Nature Machine Intelligence 5, 1031 (2023), arXiv 2302.14231; its weights ship
in its wheel. A result is a list of numbers, which a line of a file can hold; NaN says that CHGNet
failed, as it does for elements that it does not know and for atoms without neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.progress import bar
from pyg_crysdiff.relaxation.geometry import right_handed, rms_moved
from pyg_crysdiff.storage import JsonLines

_CHUNK = 32
_NUMBERS = 4  # energies after and before, distance moved, convergence


@cache
def _model() -> Any:
    from chgnet.model import CHGNet  # noqa: PLC0415

    return CHGNet.load(use_device="cpu", verbose=False)


def static(crystal: Crystal) -> list[float]:
    """Return the energy of a crystal as it is, eV/atom."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [float(_model().predict_structure(crystal.to_structure(), task="e")["e"])]
    except Exception:  # an element CHGNet does not know, an atom without neighbours, ...
        return [float("nan")]


def relax_summary(crystal: Crystal, steps: int, fmax: float) -> list[float]:
    """Relax cell and positions; return the four numbers of :func:`relax_whole` alone."""
    return relax_whole(crystal, steps, fmax)[:_NUMBERS]


def relax_whole(crystal: Crystal, steps: int, fmax: float) -> list[float]:
    """Relax cell and positions; return numbers, and the relaxed crystal where there is one.

    Args:
        crystal: A structurally valid crystal.
        steps: Most steps.
        fmax: Largest force at which the relaxation ends, eV/A.

    Returns:
        Energy after and before (eV/atom), distance moved (A) and whether it converged (0 or 1);
        behind them the nine numbers of the cell and 3 N fractional coordinates, which
        :func:`relaxed_crystal` reads. Four NaN where CHGNet failed.
    """
    from chgnet.model import StructOptimizer  # noqa: PLC0415

    crystal = right_handed(crystal)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # it prints its device
            warnings.simplefilter("ignore")
            optimizer = StructOptimizer(model=_model(), use_device="cpu")
            found: Any = optimizer.relax(
                crystal.to_structure(), fmax=fmax, steps=steps, verbose=False
            )
    except Exception:  # as above
        return [float("nan")] * _NUMBERS
    path = found["trajectory"]
    n = len(crystal)
    final = Crystal.from_structure(found["final_structure"])
    forces = float(np.linalg.norm(path.forces[-1], axis=1).max())
    energies = [float(path.energies[-1]) / n, float(path.energies[0]) / n]
    numbers = [*energies, rms_moved(crystal, final), float(forces <= fmax)]
    return [*numbers, *final.lattice.ravel().tolist(), *final.frac_coords.ravel().tolist()]


def relaxed_crystal(crystal: Crystal, row: Sequence[float]) -> Crystal | None:
    """Return the crystal that :func:`relax_whole` left of another one; None where it failed."""
    cell, frac = np.array(row[_NUMBERS : _NUMBERS + 9]), np.array(row[_NUMBERS + 9 :])
    if len(frac) != 3 * len(crystal) or not np.isfinite([*cell, *frac]).all():
        return None
    return replace(crystal, lattice=cell.reshape(3, 3), frac_coords=frac.reshape(-1, 3))


def kept_results(
    work: Callable[[Crystal], list[float]],
    crystals: Sequence[Crystal],
    tag: str,
    folder: Path | None,
    *,
    num_workers: int | None = None,
    progress: bool = False,
    suffix: str = "",
) -> Iterator[list[float]]:
    """Yield ``work(crystal)`` of each crystal; finished ones come from and go to files.

    Results are found by the content of a crystal, so that a run goes on after an interruption.

    Args:
        work: Picklable function of a crystal.
        crystals: Crystals; equal ones are done once.
        tag: Name of the work with its settings; results of another name are not taken.
        folder: Folder of the files ``chgnet-TAG.jsonl``; None keeps nothing.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
        suffix: Where several processes share a folder, each writes a file of its own; all files
            are read.
    """
    file = None
    known: dict[str, list[float]] = {}
    if folder is not None:
        file = folder / f"chgnet-{tag}{suffix}.jsonl"
        for found in [file, *sorted(folder.glob(f"chgnet-{tag}.*-*.jsonl"))]:
            known |= _finished(found)
    keys = [c.digest() for c in crystals]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    missing = sorted(i for key, i in first.items() if key not in known)
    with bar(label=tag, total=len(missing), show=progress and bool(missing)) as shown:
        for start in range(0, len(missing), _CHUNK):
            part = missing[start : start + _CHUNK]
            rows = parallel_map(
                work, [crystals[i] for i in part], num_workers=num_workers,
                progress=False, serial_below=4, chunksize=1,
            )  # fmt: skip
            known |= {keys[i]: row for i, row in zip(part, rows, strict=True)}
            if file is not None:
                JsonLines(file).add([keys[i], known[keys[i]]] for i in part)
            shown.update(len(part))
    for key in keys:
        yield known[key]


def _finished(file: Path) -> dict[str, list[float]]:
    """Read finished results; what is damaged is left out."""
    out: dict[str, list[float]] = {}
    for value in JsonLines(file).read():
        with suppress(ValueError, TypeError):
            key, row = value
            whole = len(row) > _NUMBERS + 9 and (len(row) - _NUMBERS) % 3 == 0
            if isinstance(key, str) and (len(row) in (1, _NUMBERS) or whole):
                out[key] = [float(x) for x in row]
    return out
