"""The last step from a representation to a crystal: symmetry where the representation allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.structrepdiff.reconstruction import Reconstruction, Reconstructor
from pyg_crysdiff.structrepdiff.snapping import snapped
from pyg_crysdiff.structrepdiff.starts import Array, Frame

_STEPS = (1.0, 0.5, 0.25, 0.1)  # of the largest tolerance
_ROUNDING = 1e-3  # losses that differ by less are equal


def finished(
    reconstructor: Reconstructor,
    frames: Sequence[Frame],
    found: Sequence[Reconstruction],
    pooled: Tensor,
) -> list[Crystal]:
    """Return the crystals found, each moved to its space group if that fits the representation.

    ``info`` has the loss, whether it is below the tolerance of the search, and the evaluations.

    A generated representation is that of a crystal up to noise, and coordinates that fit it best
    follow the noise. Of the symmetric crystals within several tolerances up to that of the search
    (:func:`pyg_crysdiff.structrepdiff.snapping.snapped`), and of those whose loss is hardly larger
    (``snap_slack``), the one with the most symmetry is taken; else the crystal stays as it was
    found.

    Args:
        reconstructor: What found them, with its search.
        frames: Lattice and composition of each crystal.
        found: Outcomes.
        pooled: Wanted maxima and minima of the EAD, (C, 2 * ead.dim).
    """
    search = reconstructor.search
    places = _places(reconstructor, frames, found, pooled)
    return [
        Crystal(
            lattice,
            frac_coords,
            frame.atomic_numbers,
            {
                "reconstruction_loss": loss,
                "reconstructed": loss < search.tolerance,
                "evaluations": result.evaluations,
            },
        )
        for frame, result, (lattice, frac_coords, loss) in zip(frames, found, places, strict=True)
    ]


def _places(
    reconstructor: Reconstructor,
    frames: Sequence[Frame],
    found: Sequence[Reconstruction],
    pooled: Tensor,
) -> list[tuple[Array, Array, float]]:
    """Lattice, coordinates and loss of each crystal in the end."""
    search = reconstructor.search
    places = [result.frac_coords for result in found]
    before = [result.loss for result in found]
    out = [(f.lattice, x, loss) for f, x, loss in zip(frames, places, before, strict=True)]
    if not search.snap:
        return out
    before = reconstructor.losses(frames, places, pooled)
    orders = [1] * len(out)
    for share in _STEPS:
        moved = {}
        for k, (frame, place) in enumerate(zip(frames, places, strict=True)):
            cell, x, order = snapped(
                frame.lattice, place, frame.atomic_numbers, share * search.snap
            )
            if order > orders[k]:
                moved[k] = (replace(frame, lattice=cell), x, order)
        if not moved:
            continue
        losses = reconstructor.losses(
            [frame for frame, _, _ in moved.values()], [x for _, x, _ in moved.values()],
            pooled[list(moved)],
        )  # fmt: skip
        for (k, (frame, x, order)), loss in zip(moved.items(), losses, strict=True):
            if loss <= (1 + search.snap_slack) * before[k] + _ROUNDING:
                out[k], orders[k] = (frame.lattice, x, loss), order
    return out
