"""Embeddings of crystals by a potential that anyone may load, for the Fréchet distance."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.parallel import parallel_map

_CHGNET_DIM = 64


def chgnet_embeddings(
    crystals: Sequence[Crystal], *, num_workers: int | None = None, progress: bool = False
) -> NDArray[np.float64]:
    """Return CHGNet's crystal features, (M, 64); rows of NaN where it fails.

    The mean over atoms of what CHGNet reads energies from: a supercell has the same. CHGNet:
    Deng et al., Nature Machine Intelligence 5, 1031 (2023); its weights come with its wheel.

    Args:
        crystals: Crystals as generated or relaxed.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Raises:
        ModuleNotFoundError: If CHGNet is not installed.
    """
    if importlib.util.find_spec("chgnet") is None:
        raise ModuleNotFoundError(
            "these embeddings need CHGNet: pip install 'pyg_crysdiff[stability]'"
        )
    rows = parallel_map(
        _features, crystals, num_workers=num_workers, progress=progress, label="embeddings"
    )
    return np.array(rows, dtype=np.float64).reshape(-1, _CHGNET_DIM)


@cache
def _model() -> Any:
    from chgnet.model import CHGNet  # noqa: PLC0415

    with redirect_stdout(StringIO()):  # it prints its size
        return CHGNet.load(use_device="cpu", verbose=False)


def _features(crystal: Crystal) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _model().predict_structure(
                crystal.to_structure(), task="e", return_crystal_feas=True
            )
        return np.asarray(found["crystal_fea"], dtype=np.float64) / len(crystal)  # a sum
    except Exception:  # an element CHGNet does not know, an atom without neighbours, ...
        return np.full(_CHGNET_DIM, np.nan)
