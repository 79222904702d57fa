"""Element data that GenBench's rules need: oxidation states and supply concentration."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_ELEMENTS = 118
_UNKNOWN_HHI = 10_000.0
# The original's table gives these 0; pymatgen's has no value for them (but 3200 / 3900 for He).
_FREE_OF_RISK = ("H", "He", "Ne", "Ar", "Kr", "Tc", "Xe")
_STATES_FILES = ("data", "src/lemat_genbench/data")
_HHI_FILE = "src/lemat_genbench/metrics/data/element_properties.json"


@dataclass(frozen=True)
class ElementTables:
    """Element data of one source.

    Attributes:
        source: ``pymatgen``, or ``genbench`` where they come from a checkout of the original.
        oxidation_states: Atomic number to its usual oxidation states; elements that are missing
            make a composition of unknown charge.
        hhi: Herfindahl-Hirschman index of production and reserve by atomic number, (119, 2), on
            the scale 0 to 10,000; row 0 is unused.
    """

    source: str
    oxidation_states: Mapping[int, tuple[int, ...]]
    hhi: NDArray[np.float64]

    @property
    def charge_key(self) -> str:
        """Name of the column and metric of charge neutrality by these oxidation states."""
        return "charge_neutral" if self.source == "genbench" else "charge_neutral_icsd"

    @staticmethod
    def of(checkout: Path | None) -> ElementTables:
        """Return pymatgen's tables, or those of a checkout of the original.

        Raises:
            FileNotFoundError: If a file of the checkout is missing; the message names it.
            ValueError: If a file holds something else.
        """
        return _of_pymatgen() if checkout is None else _of_checkout(Path(checkout))


@cache
def _of_pymatgen() -> ElementTables:
    """States of the ICSD (or else common ones), and HHI of Gaultois et al. rounded to 100.

    Sources: ``Element.icsd_oxidation_states``, ``common_oxidation_states`` and ``HHIModel`` of
    pymatgen; M. W. Gaultois et al., Chem. Mater. 25, 2911 (2013).
    """
    from pymatgen.analysis.hhi import HHIModel  # noqa: PLC0415
    from pymatgen.core import Element  # noqa: PLC0415

    states = {}
    for z in range(1, MOST_ELEMENTS + 1):
        element = Element.from_Z(z)
        known = element.icsd_oxidation_states or element.common_oxidation_states
        if known:
            states[z] = tuple(int(x) for x in known)
    hhi = dict(HHIModel().symbol_hhip_hhir) | dict.fromkeys(_FREE_OF_RISK, (0.0, 0.0))
    return ElementTables("pymatgen", states, _by_number(hhi))


@cache
def _of_checkout(checkout: Path) -> ElementTables:
    """Read ``lemat_icsd_oxi_state_mapping.json`` and ``element_properties.json``."""
    name = "lemat_icsd_oxi_state_mapping.json"
    places = [checkout / folder / name for folder in _STATES_FILES]
    file = next((place for place in places if place.is_file()), places[0])
    raw = _read(file)
    try:
        states = {_number(symbol): tuple(int(x) for x in known) for symbol, known in raw.items()}
        properties = _read(checkout / _HHI_FILE)
        production, reserve = properties["hhi_production"], properties["hhi_reserve"]
        pairs = {symbol: (float(production[symbol]), float(reserve[symbol])) for symbol in reserve}
        return ElementTables("genbench", states, _by_number(pairs))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{checkout}: its element data cannot be used ({error!r})") from error


def _read(file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; give the folder of a checkout of LeMaterial/lemat-genbench, or "
            "none for pymatgen's element data"
        )
    return json.loads(file.read_text(encoding="utf-8"))


def _by_number(pairs: Mapping[str, tuple[float, float]]) -> NDArray[np.float64]:
    """Return (119, 2): an element without a value counts as the largest risk."""
    out = np.full((MOST_ELEMENTS + 1, 2), _UNKNOWN_HHI)
    for symbol, pair in pairs.items():
        out[_number(symbol)] = pair
    return out


def _number(symbol: str) -> int:
    from pymatgen.core import Element  # noqa: PLC0415

    return int(Element(symbol).Z)


@cache
def atomic_radii() -> NDArray[np.float64]:
    """Return pymatgen's atomic radius by atomic number, (119,), Angstrom; 1 where there is none."""
    from pymatgen.core import Element  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [Element.from_Z(z).atomic_radius for z in range(1, MOST_ELEMENTS + 1)]
    return np.array([np.nan, *(float(r) if r else 1.0 for r in found)])


@cache
def covalent_radii() -> NDArray[np.float64]:
    """Return covalent radii by atomic number, (119,), Angstrom; NaN where there is none.

    Source: ``CovalentRadius`` of pymatgen.
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius  # noqa: PLC0415

    out = np.full(MOST_ELEMENTS + 1, np.nan)
    for symbol, radius in CovalentRadius.radius.items():
        out[_number(symbol)] = radius
    return out
