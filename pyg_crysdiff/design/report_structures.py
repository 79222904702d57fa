"""The crystals of a report: cards in 3D, a table, and files to download."""

from __future__ import annotations

import html
import io
import warnings
import zipfile
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import crystal_to_cif, crystals_to_extxyz
from pyg_crysdiff.design.curves import with_unit
from pyg_crysdiff.design.report_run import Run
from pyg_crysdiff.evaluation.distribution import space_group
from pyg_crysdiff.pages.page import data_link, table
from pyg_crysdiff.pages.structures import structure_on_demand

if TYPE_CHECKING:
    import pandas as pd

IN_3D = 48  # structures; the others are lines of the table
IN_TABLE = 1000
_NEAREST = 12  # evaluated crystals that are shown where there is no hit


def structures(run: Run) -> list[str]:
    """Return the section on what was found, or on what came nearest."""
    hits = run.hits
    if len(hits):
        title, rows = "Structures found", hits
        rule = _rule(run, len(hits))
    else:
        title, rows = "Structures that came nearest", run.nearest.head(_NEAREST)
        rule = "No evaluated crystal meets all that was asked for. These miss it by least."
    if not len(rows):
        return []
    shown = rows.head(IN_TABLE)
    parts = [_Part(run, row) for _, row in shown.iterrows()]
    cards = "".join(part.card() for part in parts[:IN_3D])
    return [
        f"<h2>{title}</h2>",
        f'<p class="mute">{html.escape(rule)} Drag to turn. {_archive(parts)}</p>',
        f'<div class="grid">{cards}</div>',
        _table(run, parts, len(rows)),
    ]


def _rule(run: Run, count: int) -> str:
    first = [o for o in run.objectives if o.direction]
    order = f"in the order of {first[0].name}" if first else "in the order of evaluation"
    more = f" The first {IN_3D} in 3D, all in the table below." if count > IN_3D else ""
    moved = any(crystal is not run.chosen[key] for key, crystal in run.final.items())
    relaxed = " as the oracle relaxed them" if moved else ""
    return f"{count} different hits{relaxed}, {order}.{more}"


class _Part:
    """One crystal with its line of the ledger."""

    def __init__(self, run: Run, row: pd.Series) -> None:
        self.run, self.row = run, row
        self.key, self.formula = str(row["key"]), str(row["formula"])
        self.crystal = run.final[self.key]
        self.cif = crystal_to_cif(self.crystal)
        self.group = _group(self.crystal)

    @property
    def file(self) -> str:
        return f"{self.key}-{self.formula}.cif"

    def values(self) -> list[str]:
        """Value of each objective, and what was predicted."""
        return [_number(self.row.get(o.name)) for o in self.run.objectives]

    def predictions(self) -> list[str]:
        return [_prediction(self.row, o.name) for o in self.run.objectives]

    def link(self, label: str) -> str:
        return data_link(self.cif, self.file, label, "chemical/x-cif")

    def card(self) -> str:
        lines = []
        told = zip(self.run.objectives, self.values(), self.predictions(), strict=True)
        for objective, value, before in told:
            unit = self.run.unit(objective.name)
            line = f"{html.escape(objective.name)} <b>{value}</b> {unit}".rstrip()
            lines.append(line + (f", predicted {before}" if before else ""))
        head = f"<b>{html.escape(self.formula)}</b> {html.escape(self.group)}, {self.key}"
        place = f"round {int(self.row['round'])}, evaluation {int(self.row['order'])}"
        text = "<br>".join(lines)
        return (
            f'<div class="card">{structure_on_demand(self.crystal)}<div>{head}</div>'
            f'<div class="mute">{text}<br>{place}, {self.link("CIF")}</div></div>'
        )

    def line(self) -> list[str]:
        pairs = zip(self.values(), self.predictions(), strict=True)
        numbers = [text for pair in pairs for text in pair]
        return [
            self.key, html.escape(self.formula), html.escape(self.group), str(len(self.crystal)),
            *numbers, str(int(self.row["round"])), str(int(self.row["order"])), self.link("CIF"),
        ]  # fmt: skip


def _table(run: Run, parts: Sequence[_Part], count: int) -> str:
    columns = ["key", "formula", "space group", "atoms"]
    for objective in run.objectives:
        columns += [with_unit(objective.name, run.unit(objective.name)), "predicted"]
    columns += ["round", "evaluation", ""]
    rows = table(columns, [part.line() for part in parts], text=(0, 1, 2))
    more = f"<p>The other {count - len(parts)} lie in the folder hits.</p>"
    summary = f"<summary>Table of all {len(parts)} structures</summary>"
    return f"<details>{summary}{rows}{more if count > len(parts) else ''}</details>"


def _archive(parts: Sequence[_Part]) -> str:
    """Return a link to all crystals as one archive: CIF files and one extended XYZ."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            _add(archive, part.file, part.cif)
        _add(archive, "structures.extxyz", crystals_to_extxyz([_named(p) for p in parts]))
    label = f"All {len(parts)} as CIF and extended XYZ (zip)"
    return data_link(raw.getvalue(), "structures.zip", label, "application/zip")


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """Add a file with a fixed date, so that the same run gives the same page."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text)


def _named(part: _Part) -> Crystal:
    """Return a crystal with key, round and values as its info."""
    info: dict[str, Any] = {"key": part.key, "round": int(part.row["round"])}
    for objective in part.run.objectives:
        info[objective.name] = float(part.row[objective.name])
    crystal = part.crystal
    return Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info)


def _number(value: Any) -> str:
    return "" if value is None or np.isnan(value) else f"{float(value):.5g}"


def _prediction(row: pd.Series, name: str) -> str:
    mean, std = row.get(f"predicted_{name}"), row.get(f"std_{name}")
    if mean is None or std is None or np.isnan(mean):
        return ""
    return f"{mean:.4g} ± {std:.2g}"


def _group(crystal: Crystal) -> str:
    """Return symbol and number of the space group (spglib, 0.1 Angstrom)."""
    number = space_group(crystal) if crystal.is_finite and crystal.reducible else 1
    return f"{_symbol(number)} ({number})"


@cache
def _symbol(number: int) -> str:
    from pymatgen.symmetry.groups import sg_symbol_from_int_number  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(sg_symbol_from_int_number(number))
