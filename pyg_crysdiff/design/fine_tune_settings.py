"""How the generator learns from what was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FineTune:
    """How the generator learns from what was found.

    Attributes:
        steps: Length of a fine-tuning in batches, rounded to whole epochs.
        batch_size: Crystals in a batch.
        lr: Learning rate at its highest.
        share: Share of the training that goes to the found crystals, besides their own part.
        best: Part of the found crystals, the best ones, among which that share is drawn.
        replay: Most original crystals in one fine-tuning; every round draws others.
        copies: Most found crystals of one composition that are trained on; a composition that is
            more common in the original data may have more in proportion.
        held_out: Share of found and of original crystals that is never trained on.
        tolerance: How much the loss on original crystals may rise, relative.
        min_found: Found crystals without which nothing is learnt.
        every: Rounds between two fine-tunings.
    """

    steps: int = 300
    batch_size: int = 128
    lr: float = 3e-4
    share: float = 0.3
    best: float = 1.0
    replay: int = 4000
    copies: int = 3
    held_out: float = 0.2
    tolerance: float = 0.02
    min_found: int = 30
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "replay", "copies", "min_found", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("share", "best", "held_out"):
            if not 0 < getattr(self, name) < (1 if name == "held_out" else 1 + 1e-9):
                raise ValueError(f"{name} must be a share above 0, got {getattr(self, name)}")
        if not (self.lr > 0 and self.tolerance >= 0):
            raise ValueError(f"lr must be above 0 and tolerance from 0 on: {self}")
