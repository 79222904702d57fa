"""Checkpoints along the way, which stay: what a learning curve is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyg_crysdiff.models.checkpoint import export_checkpoint, load_checkpoint
from pyg_crysdiff.training.checkpoints import LAST

KEPT = "kept"


class KeptCheckpoints:
    """``kept/epoch-000100.safetensors`` and so on, in the folder of a run.

    Each is a checkpoint to sample with, as :func:`pyg_crysdiff.models.export_checkpoint` writes it:
    averaged weights in half precision and a card, without the optimiser.

    Args:
        folder: Folder of the run.
        every: Epochs between them; None to keep none.
        trusted: Packages that conditioners may come from.
    """

    def __init__(self, folder: Path, every: int | None, trusted: Sequence[str] = ()) -> None:
        self.folder, self.every, self.trusted = folder, every, trusted

    def due(self, done: int) -> bool:
        """Return whether a checkpoint is kept after so many epochs."""
        return self.every is not None and done > 0 and done % self.every == 0

    def keep(self, done: int) -> None:
        """Keep ``last.ckpt``, which was written after so many epochs, if that is due."""
        path = self.folder / KEPT / f"epoch-{done:06d}.safetensors"
        # The card is written last.
        if self.due(done) and not path.with_suffix(".json").is_file():
            export_checkpoint(load_checkpoint(self.folder / LAST, trusted=self.trusted), path)
