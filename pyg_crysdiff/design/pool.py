"""Candidates that earlier rounds have left over: better known now, they may be chosen after all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.acquisition import acquisition
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.settings import DesignSettings
from pyg_crysdiff.design.surrogate import Surrogate

_MANY = 4  # times the size of a batch; some are not new any more, or beyond the caps


def left_over(
    ledger: Ledger,
    surrogate: Surrogate,
    objectives: Sequence[Objective],
    settings: DesignSettings,
    best: Mapping[str, float],
    count: int,
) -> list[Crystal]:
    """Return the most promising crystals that were candidates in earlier rounds and not chosen.

    Without a predictor of any objective there are none: one drawn now is as good.

    Args:
        ledger: What was drawn so far.
        surrogate: Predictor.
        objectives: What is wanted.
        settings: How candidates are ordered.
        best: Best value so far, by name.
        count: Crystals that will be chosen.
    """
    wanted = [objective for objective in objectives if objective.name in surrogate.predictors]
    crystals = ledger.left() if wanted and settings.acquisition != "random" else []
    if not crystals:
        return []
    predicted = surrogate.predict(crystals)
    scores = acquisition(settings.acquisition, wanted, predicted, best, settings.kappa)
    order = np.argsort(-scores, kind="stable")[: _MANY * count]
    return [crystals[i] for i in np.sort(order)]
