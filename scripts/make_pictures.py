"""Draw the pictures of README.md and docs/ from results that lie in the repository.

    python scripts/make_pictures.py                  # all of them, into docs/images/
    python scripts/make_pictures.py speed --out DIR  # one of them, elsewhere

They are drawn from the files in benchmarks/results/pictures/, which say where every number comes
from.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.io import iread
from crystal_drawing import draw_crystal, subscripted
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from pyg_crysdiff.benchmark.representations import draw_points
from pyg_crysdiff.data.crystal import Crystal

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "results" / "pictures"
IMAGES = ROOT / "docs" / "images"
# Colours of Okabe and Ito, which people with any kind of colour blindness tell apart.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#6B7680"
INK = "#24292F"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK,
    "axes.edgecolor": "#9AA4AD", "axes.labelcolor": INK, "axes.titlecolor": INK,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#E4E8EB", "grid.linewidth": 0.7, "xtick.color": INK, "ytick.color": INK,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.frameon": False, "legend.fontsize": 9,
    "figure.facecolor": "white", "savefig.facecolor": "white", "mathtext.default": "regular",
}  # fmt: skip
TITLES = {"perov5": "Perov-5", "carbon24": "Carbon-24", "mp20": "MP-20"}
_LONG = 9  # letters of a formula, above which its space group stands below


def load(name: str) -> Any:
    """Read one file of results."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def crystals() -> Figure:
    """Generated crystals of the three sets."""
    found = [_crystal(atoms) for atoms in iread(DATA / "crystals.extxyz")]
    figure = Figure(figsize=(9.6, 4.0))
    parts = figure.subfigures(1, len(TITLES), wspace=0.02)
    for part, (name, title) in zip(parts, TITLES.items(), strict=True):
        part.suptitle(title, fontsize=11.5, fontweight="bold", y=0.99)
        axes = part.subplots(2, 2, gridspec_kw={"hspace": 0.2, "wspace": 0.12})
        part.subplots_adjust(left=0.03, right=0.97, top=0.90, bottom=0.07)
        own = [c for c in found if c.info["data_set"] == name]
        for panel, crystal in zip(axes.flat, own, strict=True):
            draw_crystal(panel, crystal)
            panel.set_title(_caption(crystal), y=-0.06, fontsize=10, fontweight="normal", va="top")
    return figure


def _crystal(atoms: Atoms) -> Crystal:
    return Crystal(atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers, atoms.info)


def _caption(crystal: Crystal) -> str:
    formula = crystal.to_structure().composition.reduced_formula
    group = str(crystal.info["space_group"])
    text = subscripted(formula)
    apart = "\n" if len(formula) > _LONG else "   "
    return text if group == "P1" else f"{text}{apart}${_symbol(group)}$"


def _symbol(group: str) -> str:
    """A space group in mathtext: a bar over a number after a minus, screw axes as indices."""
    return re.sub(r"_(\d)", r"_{\1}", re.sub(r"-(\d)", r"{\\bar{\1}}", group))


def requested_achieved() -> Figure:
    """What was asked for, and what the predictor finds in the crystals that came out."""
    names = [name for name in TITLES if (DATA / f"requests_{name}.json").exists()]
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(axes, names, strict=True):
        _requests(panel, load(f"requests_{name}"))
        panel.set_title(TITLES[name])
    axes[0].set_ylabel("achieved, eV/atom")
    axes[0].legend(loc="upper left")
    errors = " and ".join(f"{load(f'requests_{n}')['judge']['test_mae']:.2f}" for n in names)
    _note(
        figure,
        "Points: generated crystals, valid or not. Bars: middle 80 % and median. Achieved: "
        f"predicted by CDVAE's evaluators\n(errors on test crystals: {errors} eV/atom).",
    )
    return figure


def _requests(panel: Axes, found: dict[str, Any]) -> None:
    points = found["requests"]
    wanted = sorted({point["requested"] for point in points})
    strengths = sorted({point["guidance"] for point in points})
    margin = 0.06 * (wanted[-1] - wanted[0])
    ends = [wanted[0] - margin, wanted[-1] + margin]
    panel.plot(ends, ends, color=INK, lw=1, ls=(0, (4, 3)), label="as requested", zorder=2)
    low, high = (found["training_percentiles"][p] for p in ("25", "75"))
    panel.axhspan(low, high, color="#EEF1F3", zorder=0, label="middle half of the training set")
    chance = np.random.default_rng(0)
    for k, guidance in enumerate(strengths):
        colour, marker = {1: (BLUE, "o"), 2: (ORANGE, "s")}[guidance]
        shift = (k - (len(strengths) - 1) / 2) * 0.022 * (wanted[-1] - wanted[0])
        own = [p for p in points if p["guidance"] == guidance]
        for point in own:
            x = point["requested"] + shift
            values = np.array(point["achieved"])
            spread = 0.006 * (wanted[-1] - wanted[0]) * chance.standard_normal(len(values))
            panel.plot(x + spread, values, ".", ms=4, color=colour, alpha=0.3, mew=0, zorder=3)
            least, middle, most = np.quantile(values, [0.1, 0.5, 0.9])
            panel.plot([x, x], [least, most], color=colour, lw=1.6, zorder=4)
            panel.plot(
                x, middle, marker, ms=6, color=colour, mec="white", mew=0.8, zorder=5,
                label=f"guidance {guidance:g}" if point is own[0] else None, ls="none",
            )  # fmt: skip
    panel.set(xlim=ends, xlabel="requested formation energy, eV/atom")


def _note(figure: Figure, text: str) -> None:
    """A line on what was measured, below the picture."""
    figure.supxlabel(text, fontsize=8, color=GREY, x=0.01, ha="left", linespacing=1.35)


def calls_quality() -> Figure:
    """Success rate, coverage and distance of the property over the number of network calls."""
    rows = load("few_steps")["rows"]
    measures = {
        "sr5_all": "SR5, all\n(minimum requested)",
        "cov_precision": "COV-P\n(no condition)",
        "property_emd": "distance to the test set's\nenergies, eV/atom",
    }
    titles = {"perov5": "Perov-5, CDS", "carbon24": "Carbon-24, CDS", "mp20": "MP-20, CDI"}
    measured = {row["dataset"] for row in rows}
    sets = {name: title for name, title in titles.items() if name in measured}
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    axes = figure.subplots(len(measures), len(sets), sharex="col")
    for line, (key, label) in zip(axes, measures.items(), strict=True):
        for panel, name in zip(line, sets, strict=True):
            _calls(panel, [row for row in rows if row["dataset"] == name], key)
        line[0].set_ylabel(label)
    for panel, title in zip(axes[0], sets.values(), strict=True):
        panel.set_title(title)
    for panel in axes[-1]:
        panel.set_xlabel("network calls for one crystal")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _calls(panel: Axes, rows: Sequence[dict[str, Any]], key: str) -> None:
    """One measure of one data set; the first row is what the others are held against."""
    first, own = rows[0], sorted(rows, key=lambda row: row["calls"])
    panel.axhspan(first[key]["low"], first[key]["high"], color=ORANGE, alpha=0.13, lw=0,
                  label="95 % interval of the recommended number")  # fmt: skip
    names = {"renewing": "renewing", "mixed": "mixed, temperature .64"}
    for (solver, name), color in zip(names.items(), (BLUE, GREEN), strict=True):
        line = [row for row in own if row["sampler"].startswith(solver)]
        panel.plot([r["calls"] for r in line], [r[key]["value"] for r in line], "o-", ms=6,
                   color=color, lw=1.2, mec="white", mew=0.8, zorder=3,
                   label=f"{name}, mean of three seeds")  # fmt: skip
    for row in own:
        seeds = row[key]["seeds"]
        panel.plot([row["calls"]] * len(seeds), seeds, ".", ms=3, color=GREY, zorder=2,
                   label="one seed" if row is own[0] else None)  # fmt: skip
    panel.set_xscale("log")
    panel.set_xticks([r["calls"] for r in own], [f"{r['calls']:,}" for r in own])
    panel.minorticks_off()
    panel.set_ylim(0, None if key == "property_emd" else 1.02)


def training_curve() -> Figure:
    """Rates and loss over the crystals seen in training."""
    found = load("training_curve")
    rows = found["rows"]
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    rates, loss = figure.subplots(1, 2)
    kinds = {"sr5": ("SR5", BLUE), "sr10": ("SR10", GREEN), "sr15": ("SR15", PINK),
             "unique": ("different crystals", ORANGE)}  # fmt: skip
    seen = [row["crystals_seen"] / 1e6 for row in rows]
    for key, (label, colour) in kinds.items():
        low, high = ([row[key][end] for row in rows] for end in ("low", "high"))
        rates.plot(seen, [row[key]["value"] for row in rows], "o-", ms=4, color=colour, label=label)
        rates.fill_between(seen, low, high, color=colour, alpha=0.13, lw=0)
    rates.set(ylim=(0, 1.02), title="Perov-5 CDI, minimum requested")
    rates.legend(loc="lower left")
    at, values = zip(*found["validation_loss"], strict=True)
    loss.plot([number / 1e6 for number in at], values, color=BLUE)
    loss.set_title("validation loss")
    for panel in (rates, loss):
        panel.set_xlabel("million crystals seen")
    return figure


def speed() -> Figure:
    """How many times faster than peers, on one core."""
    found = load("throughput")
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    batches = {"Perov-5": 1024, "Carbon-24": 256, "MP-20": 256}  # those that DiffCSP published
    rows = {
        f"{name}": row
        for name, batch in batches.items()
        for row in found["with_bf16"]["rows"]
        if row["dataset"] == name and row["batch"] == batch
    }
    _bars(left, rows)
    left.set_title("beside DiffCSP (= 1)")
    _bars(right, {f"{row['peer']}, MP-20": row for row in found["mp20_batch_16"]["rows"]})
    right.set_title("beside others (= 1)")
    left.set_ylabel("times as fast, one core")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    _note(
        figure,
        "Structures per second, one thread of a CPU. Parameters: ours 3.3 M, DiffCSP 12.3 M, "
        "MatterGen 44.6 M, Crystalite 67.6 M.\nDiffCSP: its published batch sizes. Others: batch "
        "16. Ours in bf16, peers in fp32. Sampling: against the peer's own sampler,\nwith 2,000 "
        "network calls of ours, or with few: 50 (Perov-5), 200 (Carbon-24) and 250 (MP-20).",
    )
    return figure


def _bars(panel: Axes, rows: dict[str, dict[str, Any]]) -> None:
    kinds = {
        "training_ratio": ("training", BLUE),
        "denoiser_ratio": ("one network call", "#56B4E9"),
        "sampling_ratio": ("sampling, all steps", GREEN),
        "few_steps_ratio": ("sampling, few steps", ORANGE),
    }
    width = 0.2
    for k, (key, (label, colour)) in enumerate(kinds.items()):
        x = np.arange(len(rows)) + (k - 1.5) * width
        values = [row[key] for row in rows.values()]
        panel.bar(x, values, width * 0.92, color=colour, label=label)
        for at, value in zip(x, values, strict=True):
            text = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
            panel.annotate(
                text, (at, value), (0, 2), textcoords="offset points", ha="center", fontsize=8.5
            )
    panel.set_yscale("log")
    panel.set_ylim(1, 9_000)
    panel.set_xticks(range(len(rows)), list(rows))
    panel.grid(visible=False, axis="x")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def representations() -> Figure:
    """Where samples lie among the test crystals, in principal components of representations."""
    sets = load("representations")["sets"]
    most = max(len(found["methods"]) for found in sets.values())
    figure = Figure(figsize=(9.6, 2.9 * most + 0.3), layout="constrained")
    axes = figure.subplots(most, len(sets), squeeze=False)
    for column, (name, found) in zip(axes.T, sets.items(), strict=True):
        test = np.array(found["test"])
        for panel, (method, points) in zip(column, found["methods"].items(), strict=False):
            draw_points(panel, test, np.array(points), BLUE)
            panel.set_title(f"{TITLES[name]}, {method}")
            panel.set_ylabel(f"PC 2 ({found['share'][1]:.0%})")
        for unused in column[len(found["methods"]) :]:
            unused.set_visible(False)
        column[len(found["methods"]) - 1].set_xlabel(f"PC 1 ({found['share'][0]:.0%})")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, markerscale=2
    )
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "crystals": crystals,
    "requested_achieved": requested_achieved,
    "calls_quality": calls_quality,
    "training_curve": training_curve,
    "speed": speed,
    "representations": representations,
}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG file of 256 colours, half the size of one of all colours."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=180)
    picture = Image.open(buffer).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE, kmeans=3)
    entries = palette.getpalette() or []
    palette.putpalette([255 if value > 251 else value for value in entries])  # white stays white
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="default: all")
    parser.add_argument("--out", type=Path, default=IMAGES)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or PICTURES:
        with mpl.rc_context(STYLE):
            path = given.out / f"{name}.png"
            save(PICTURES[name](), path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
