"""The data set of a benchmark run: each part is opened once, when it is first asked for."""

from __future__ import annotations

from functools import cached_property

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import CrystalDataset


class Splits:
    """Training, validation and test set of a benchmark run.

    Args:
        settings: Settings of the run, which name the data set.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def train(self) -> CrystalDataset:
        """Training set."""
        return self._settings.load("train")

    @cached_property
    def val(self) -> CrystalDataset:
        """Validation set; may be empty."""
        return self._settings.load("val")

    @cached_property
    def test(self) -> CrystalDataset:
        """Test set."""
        return self._settings.load("test")
