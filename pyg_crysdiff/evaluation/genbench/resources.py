"""How concentrated the supply of a crystal's elements is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.genbench.tables import ElementTables


def supply_concentration(crystal: Crystal, tables: ElementTables) -> NDArray[np.float64]:
    """Return the Herfindahl-Hirschman index of production and of reserve, (2,), 0 to 10.

    Mean over atoms of the indices of the elements, divided by 1,000: 10 means that one country
    produces (holds) everything. An element without a value counts as 10.

    Source: ``compute_structure`` of ``BaseHHIMetric`` of LeMat-GenBench (arXiv 2512.04562). The
    paper of the index, Gaultois et al., Chem. Mater. 25, 2911 (2013), and pymatgen's ``HHIModel``
    weight elements by mass instead.
    """
    return np.asarray(tables.hhi[crystal.atomic_numbers].mean(0) / 1000.0)
