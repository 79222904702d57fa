"""What of GenBench is measured, and with whose element data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GenBench:
    """Ask :func:`pyg_crysdiff.evaluation.evaluate` for GenBench's families.

    Attributes:
        checkout: Folder of a checkout of LeMaterial/lemat-genbench, for its oxidation states and
            its HHI of the elements. None for pymatgen's: the share of neutral crystals then
            is called ``charge_neutral_icsd``, because its rule is a close one, not the same.
        only_valid: Measure diversity, resources and distributions on the crystals that pass the
            three validity checks, as the original's runner does; otherwise on all readable ones.
        bawl: Compare by the fingerprint of the package material-hasher; None for yes where it
            is installed.
    """

    checkout: Path | None = None
    only_valid: bool = True
    bawl: bool | None = None
