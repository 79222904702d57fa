"""Reconstruction benchmark: test crystals to descriptors and back, against the published rates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch_geometric.data import Batch

from pyg_crysdiff.baselines import published_rows
from pyg_crysdiff.benchmark.plots import COLOURS, STYLE, save_figure
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.data import Crystal, CrystalDataset
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.results import Estimate, Results, Row
from pyg_crysdiff.progress import bar
from pyg_crysdiff.storage import JsonLines, only_writer, write_json, write_text
from pyg_crysdiff.structrepdiff.reconstruction import Reconstructor
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.stored import group_counts

Say = Callable[[str], None]


def run_reconstruction(
    settings: Settings, say: Say = lambda _: None, progress: bool = True
) -> Results:
    """Reconstruct test crystals from their own representations; write tables, plot, structures.

    Every finished crystal is kept on disk; the same call goes on after an interruption.

    Raises:
        ValueError: If a setting is bad, or the output folder is of another run.
    """
    with only_writer(settings.out):
        return _run(settings, say, progress)


def _run(settings: Settings, say: Say, progress: bool) -> Results:
    out = settings.out
    data = Splits(settings)
    train, test = data.train, data.test
    chosen = settings.chosen(len(test))
    facts = _facts(settings)
    say(f"{len(chosen)} test crystals of {test.display_name}, search {settings.search}")
    finished = _reconstruct_all(
        settings, facts, train, test, chosen, out / "crystals.jsonl", progress
    )
    truth = [test.crystals()[k] for k in chosen]
    crystals = [_crystal(t, found) for t, found in zip(truth, finished, strict=True)]
    write_extxyz(crystals, out / "samples.extxyz", append=False)
    results = _results(settings, facts, train, test, truth, crystals, finished)
    results.save(out / "results.json")
    curve = _curve(truth, finished)
    write_json(out / "curve.json", curve)
    save_figure(_plot(curve, results), out / "match_rate.png")
    return results


def _facts(settings: Settings) -> dict[str, Any]:
    return {
        "dataset": settings.dataset,
        "split": settings.split,
        "seed": settings.seed,
        "search": {"name": settings.search, **load_table(f"reconstruction/{settings.search}.yaml")},
        "descriptor": {
            "name": settings.descriptor,
            **load_table(f"descriptor/{settings.descriptor}.yaml"),
        },
    }


def _reconstruct_all(
    settings: Settings,
    facts: dict[str, Any],
    train: CrystalDataset,
    test: CrystalDataset,
    chosen: Sequence[int],
    path: Path,
    progress: bool,
) -> list[dict[str, Any]]:
    """Reconstruct one crystal after the other, appending each to a file of JSON lines."""
    lines = JsonLines(path)
    known = _finished(lines, facts)
    options = {k: v for k, v in facts["descriptor"].items() if k != "name"}
    search = Search.from_config({k: v for k, v in facts["search"].items() if k != "name"})
    elements = sorted({int(z) for k in chosen for z in test[k].atomic_numbers.tolist()})
    representation = Representation(elements, **options)
    wanted = [k for k in chosen if k not in known]
    frequencies = group_counts(train, progress=progress) if wanted else {}
    reconstructor = Reconstructor(representation.ead, search, frequencies)
    for k in bar(wanted, label="reconstruction", show=progress, leave=True):
        start = time.perf_counter()
        values = representation(Batch.from_data_list([test[k]]))
        parts = representation.parts(values)
        (frame,) = representation.frames(parts, [int(test[k].num_atoms)])
        seed = crystal_seed(settings.seed, k, "reconstruct")
        (found,) = reconstructor([frame], parts.pooled, [seed])
        row = {
            "crystal": k,
            "loss": found.loss,
            "converged": found.converged,
            "evaluations": found.evaluations,
            "seconds": round(time.perf_counter() - start, 3),
            "lattice": frame.lattice.tolist(),
            "atomic_numbers": frame.atomic_numbers.tolist(),
            "trace": [[n, loss, x.tolist()] for n, loss, x in found.trace],
        }
        lines.add([row])
        known[k] = row
    return [known[k] for k in chosen]


def _finished(lines: JsonLines, facts: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the crystals that a run has finished, by index, or begin its file.

    A line that a kill cut off goes, with its crystal.

    Raises:
        ValueError: If the file is of a run with other settings.
    """
    first = json.loads(json.dumps(facts))
    values = lines.read()
    if values and values[0] != first:
        raise ValueError(f"{lines.path} is of a run with other settings; choose another --out")
    known: dict[int, dict[str, Any]] = {}
    for row in values[1:]:
        with suppress(LookupError, TypeError):
            known[row["crystal"]] = row
    lines.replace([first, *known.values()])
    return known


def _crystal(truth: Crystal, found: Mapping[str, Any], step: int = -1) -> Crystal:
    evaluations, loss, frac = found["trace"][step]
    info = {
        "material_id": truth.info.get("material_id", ""),
        "reconstruction_loss": loss,
        "evaluations": evaluations,
        "reconstructed": found["converged"],
    }
    lattice, numbers = np.array(found["lattice"]), np.array(found["atomic_numbers"])
    return Crystal(lattice, np.array(frac), numbers, info)


def _results(
    settings: Settings,
    facts: dict[str, Any],
    train: CrystalDataset,
    test: CrystalDataset,
    truth: list[Crystal],
    crystals: list[Crystal],
    finished: Sequence[Mapping[str, Any]],
) -> Results:
    protocol = Protocol(task="reconstruction", reference=truth, seed=settings.seed)
    found = evaluate(crystals, protocol)
    write_text(settings.out / "table.csv", found.table.to_csv(index=False))
    column = {name: np.array([row[name] for row in finished], dtype=float) for name in
              ("evaluations", "seconds", "loss", "converged")}  # fmt: skip
    details = {
        "num_samples": len(crystals),
        "evaluations_mean": round(float(column["evaluations"].mean()), 1),
        "evaluations_max": int(column["evaluations"].max()),
        "seconds_mean": round(float(column["seconds"].mean()), 3),
        "seconds_median": round(float(np.median(column["seconds"])), 3),
        "loss_median": float(np.median(column["loss"])),
        "converged": round(float(column["converged"].mean()), 4),
    }
    metrics: dict[str, Estimate] = dict(found.metrics)
    label = f"StructRepDiff, {settings.search} search"
    rows = [Row(label, "measured", "this run", metrics, details)]
    rows += published_rows(settings.dataset, "reconstruction")
    return Results.of(
        rows,
        dataset=test.display_name,
        split=train.split_description,
        seed=settings.seed,
        task="reconstruction",
        settings={
            **facts,
            "num_train": len(train),
            "num_reference": len(test),
            "threads": torch.get_num_threads(),
            "seconds": float(column["seconds"].sum()),
        },
    )


def _curve(truth: list[Crystal], finished: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Match rate and RMSE after each wave, against the mean number of evaluations so far."""
    out = []
    for step in range(max(len(row["trace"]) for row in finished)):
        at = [min(step, len(row["trace"]) - 1) for row in finished]
        crystals = [_crystal(t, r, k) for t, r, k in zip(truth, finished, at, strict=True)]
        rms = rms_distances(crystals, truth)
        matched = rms[np.isfinite(rms)]
        spent = [r["trace"][k][0] for r, k in zip(finished, at, strict=True)]
        out.append(
            {
                "evaluations_mean": float(np.mean(spent)),
                "evaluations_max": float(np.max(spent)),
                "match_rate": float(np.isfinite(rms).mean()),
                "rmse": float(matched.mean()) if len(matched) else float("nan"),
            }
        )
    return out


def _plot(curve: Sequence[Mapping[str, float]], results: Results) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.8))
        axes = figure.add_subplot()
        x = [point["evaluations_max"] for point in curve]
        axes.plot(x, [point["match_rate"] for point in curve], "o-", color=COLOURS[0],
                  label=f"{results.rows[0].method}, this run, by structure alone")  # fmt: skip
        for row, colour in zip(results.rows[1:], COLOURS[1:] * 3, strict=False):
            if "match_rate" in row.metrics:
                value = row.metrics["match_rate"].value
                label = f"{row.method} (published, of valid predictions)"
                axes.axhline(value, color=colour, lw=1, ls=":", label=label)
        axes.set(
            xlabel="evaluations per crystal, at most", ylabel="match rate",
            ylim=(0, 1.02), title=f"{results.dataset}: reconstruction from the descriptor",
        )  # fmt: skip
        axes.legend(fontsize=8)
    return figure
