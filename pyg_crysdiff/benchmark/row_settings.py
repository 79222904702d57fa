"""The settings of a row of a benchmark, in words: they stand beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyg_crysdiff.evaluation.results import Row

_SIZES = {"distribution": "p(N)", "target": "p(N | target)"}
_FREE = ("charge_neutral", "num_elements")  # constraints, as version 0.1 wrote them


def row_settings(row: Row, seed: int | None = None) -> dict[str, str]:
    """Return how the crystals of a row were made: heading to value; empty where nobody knows.

    Args:
        row: A row; published ones have no settings.
        seed: Seed of the run, for rows that do not name their own.
    """
    details = row.details
    if row.kind == "published" or "solver" not in details:
        return {}
    out = {
        "request": _request(details),
        "guidance": "" if details.get("guidance") is None else f"{details['guidance']:g}",
        "constraints": _constraints(details),
        "solver": f"{details['solver']}{_spacing(details)}",
        "steps": "all" if details.get("steps") is None else str(details["steps"]),
        "corrector": str(details.get("corrector_steps") or "none"),
        "temperature": f"{details['temperature']:g}" if "temperature" in details else "",
        "sizes": _SIZES.get(str(details.get("num_atoms")), str(details.get("num_atoms", ""))),
        "seed": str(details.get("seed", "" if seed is None else seed)),
    }
    if "candidates" in details:
        out["chosen of"] = f"{details['candidates']:,}"
    if details.get("symmetrised"):
        out["symmetrised"] = f"{details['symmetrised']:g} A"
    if "uniqueness_of" in details:
        out["compared"] = f"unique, novel: {details['uniqueness_of']:,} crystals"
    return {key: value for key, value in out.items() if value}


def settings_text(row: Row, seed: int | None = None) -> str:
    """Return the settings of a row in one line, such as "request min, guidance 1"."""
    return ", ".join(f"{key} {value}" for key, value in row_settings(row, seed).items())


def _request(details: Mapping[str, Any]) -> str:
    request = details.get("request", details.get("target"))
    if request is None:
        return "none"
    if isinstance(request, Mapping):
        return ", ".join(f"{name}={value:.6g}" for name, value in request.items())
    return str(request)


def _constraints(details: Mapping[str, Any]) -> str:
    found = details.get("constraints")
    if found is None:
        found = {key: details[key] for key in _FREE if details.get(key)}
    words = [
        key.replace("_", " ") if value is True else f"{key.replace('_', ' ')} {_plain(value)}"
        for key, value in found.items()
    ]
    return "; ".join(words) or "none"


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _spacing(details: Mapping[str, Any]) -> str:
    spacing = details.get("spacing", "uniform")
    return "" if spacing == "uniform" else f" ({spacing})"
