"""Crystal structure prediction: test compositions to structures, one or several candidates each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Element

from pyg_crysdiff.baselines import published_rows
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.results import Estimate, Results, Row
from pyg_crysdiff.evaluation.statistics import mean_estimate
from pyg_crysdiff.models import LoadedModel
from pyg_crysdiff.sampling import Control, sample
from pyg_crysdiff.storage import only_writer, write_text

Say = Callable[[str], None]
_RESAMPLES = 1000


def run_prediction(settings: Settings, say: Say = lambda _: None, progress: bool = True) -> Results:
    """Predict the structures of test compositions; write tables, candidates, structures.

    Models of the family ``csp`` are trained where no checkpoint is given. Every stage leaves its
    result on disk; the same call goes on after an interruption.

    Raises:
        ValueError: If a setting is bad, or the output folder is of another run.
    """
    with only_writer(settings.out):
        return _run(settings, say, progress)


def _run(settings: Settings, say: Say, progress: bool) -> Results:
    started = time.perf_counter()
    data = Splits(settings)
    train, test = data.train, data.test
    chosen = settings.chosen(len(test))
    truth = [test.crystals()[k] for k in chosen]
    rows = []
    overrides = ("family=csp", "properties=[]", *settings.overrides)
    own = replace(settings, train_design={}, train_model={}, overrides=overrides)
    for label, model, facts in generators(own, data, say, progress):
        rows.append(_row(settings, label, model, truth, facts, say, progress))
    rows += published_rows(settings.dataset, "prediction")
    results = Results.of(
        rows,
        dataset=test.display_name,
        split=train.split_description,
        seed=settings.seed,
        task="prediction",
        settings={
            "num_train": len(train),
            "num_reference": len(test),
            "num_compositions": len(truth),
            "candidates": settings.candidates,
            **settings.sampler.to_dict(),
            "seconds": round(time.perf_counter() - started, 1),
        },
    )
    results.save(settings.out / "results.json")
    return results


def formula_of(crystal: Crystal) -> str:
    """Return the exact composition of a crystal, such as Ti2O4."""
    counts = Counter(crystal.atomic_numbers.tolist())
    return "".join(f"{Element.from_Z(z).symbol}{n}" for z, n in sorted(counts.items()))


def _row(
    settings: Settings,
    label: str,
    model: LoadedModel,
    truth: Sequence[Crystal],
    details: dict[str, Any],
    say: Say,
    progress: bool,
) -> Row:
    say(f"{label}: {settings.candidates} candidates for each of {len(truth)} compositions")
    started = time.perf_counter()
    crystals = sample(
        model,
        len(truth) * settings.candidates,
        target=None,
        control=Control(formulas=tuple(map(formula_of, truth))),
        seed=settings.seed,
        num_atoms="distribution",
        guidance=1.0,
        sampler=settings.sampler,
        device=settings.device,
        out=settings.out / "samples" / file_stem(label),
        progress=progress,
    )
    seconds = round(time.perf_counter() - started, 1)
    say(f"{label}: matching")
    metrics = _matches(
        settings, crystals, truth, settings.out / "tables" / f"{file_stem(label)}.csv", progress
    )
    details = {**details, "checkpoint": model.digest, "sampling_seconds": seconds}
    return Row(label, "measured", "this run", metrics, details)


def _matches(
    settings: Settings,
    crystals: Sequence[Crystal],
    truth: Sequence[Crystal],
    path: Path,
    progress: bool,
) -> dict[str, Estimate]:
    """Match rate and RMSE of the first candidate, and where any counts, of the best one."""
    count = settings.candidates
    rms = rms_distances(crystals, list(truth) * count, progress=progress).reshape(count, -1)
    columns = [f"candidate_{k + 1}" for k in range(count)]
    table = pd.DataFrame(rms.T, columns=columns)
    table.insert(0, "material_id", [c.info.get("material_id", "") for c in truth])
    table.insert(1, "formula", [formula_of(c) for c in truth])
    write_text(path, table.to_csv(index=False))
    rms = np.where(np.isnan(rms), np.inf, rms)
    plausible = np.array([smact_validity(c.atomic_numbers) for c in truth])
    out = {}
    for kind, best in (("", rms[0]), ("_any", rms.min(0))):
        for suffix, counts in (("", plausible), ("_struct", np.ones_like(plausible))):
            ok = np.isfinite(best) & counts
            out[f"match_rate{kind}{suffix}"] = mean_estimate(ok, _RESAMPLES, settings.seed)
            out[f"rmse{kind}{suffix}"] = mean_estimate(best[ok], _RESAMPLES, settings.seed)
    return out
