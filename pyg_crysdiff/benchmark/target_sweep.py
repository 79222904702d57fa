"""Requested versus achieved over the whole range of a property, and what guidance does to it.

Every model is asked for the training minimum and for the 5, 25, 50, 75 and 95 % points of the
training set, at several strengths of guidance; the judging evaluator says what came out. A row of
the training set itself tells how far from each request a crystal lies that was not asked for
anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pyg_crysdiff.benchmark.evaluators import property_model, thresholds_origin
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.range_plots import draw_guidance, draw_requests
from pyg_crysdiff.benchmark.report import write_report
from pyg_crysdiff.benchmark.sampling import draw
from pyg_crysdiff.benchmark.scoring import score
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol
from pyg_crysdiff.evaluation.results import Estimate, Results, Row
from pyg_crysdiff.storage import only_writer

Say = Callable[[str], None]
PERCENTILES = (0, 5, 25, 50, 75, 95)


def run_requests(settings: Settings, say: Say = lambda _: None, progress: bool = True) -> Results:
    """Ask every model for values over the whole range and write table, plots and report.

    ``settings.num_samples`` crystals are made for each value and each strength in
    ``settings.guidances``. Every stage leaves its result on disk; the same call goes on after an
    interruption.

    Raises:
        ValueError: If a setting is bad or the data set has no property.
    """
    with only_writer(settings.out):
        return _run(settings, say, progress)


def _run(settings: Settings, say: Say, progress: bool) -> Results:
    started = time.perf_counter()
    data = Splits(settings)
    train, test = data.train, data.test
    name = train.property_name
    if name is None:
        raise ValueError(f"{settings.dataset} has no numeric property to ask for")
    values = np.array([c.info[name] for c in with_value(train.crystals(), name)])
    if len(values) == 0:
        raise ValueError(f"no training crystal has a value of {name!r}")
    requests = {p: float(np.percentile(values, p)) for p in PERCENTILES}
    evaluator = property_model(settings, "evaluator", test, name, say, progress)
    protocol = Protocol(
        task="optimisation", train=train.crystals(), evaluator=evaluator,
        thresholds=train.success_thresholds, seed=settings.seed, space_groups=False,
        novelty_of=settings.novelty_of, progress=progress,
    )  # fmt: skip
    rows = [_unasked(values, percentile, value) for percentile, value in requests.items()]
    achieved: dict[tuple[str, float], dict[int, Evaluation]] = {}
    for label, model, facts in generators(settings, data, say, progress):
        if name not in model.model.statistics.properties:
            raise ValueError(f"{model.path} was not trained with the property {name!r}")
        for guidance in settings.guidances:
            own = replace(settings, guidance=guidance)
            for percentile, value in requests.items():
                row = f"{label}, guidance {guidance:g}, {_title(percentile)}"
                say(f"{row}: {settings.num_samples} crystals, {name} = {value:.6g}")
                crystals, sampled = draw(own, row, model, {name: value}, progress)
                asked = replace(protocol, target=value)
                found = score(settings.out, row, crystals, asked, say)
                achieved.setdefault((label, guidance), {})[percentile] = found
                details = {
                    **facts, **sampled, "checkpoint": model.digest, "request": f"{name}={value:g}",
                    "percentile": percentile, "target": value, "num_samples": len(crystals),
                }  # fmt: skip
                rows.append(Row(row, "measured", "this run", found.metrics, details))
    results = Results.of(
        rows, dataset=train.display_name, split=train.split_description, seed=settings.seed,
        task="requests",
        settings={
            "property": name, "target": requests[0],
            "thresholds": protocol.named_thresholds(),
            "thresholds_from": thresholds_origin(train),
            "num_train": len(train), "num_reference": len(test),
            "evaluator": evaluator.card,
            "num_atoms": settings.num_atoms, **settings.sampler.to_dict(),
            "seconds": round(time.perf_counter() - started, 1),
        },
    )  # fmt: skip
    results.save(settings.out / "results.json")
    folder = settings.out / "plots"
    plots = {
        "Requested versus achieved": draw_requests(
            folder / "requested_achieved.png", requests, achieved, name
        ),
        "Guidance": draw_guidance(folder / "guidance.png", achieved),
    }
    write_report(settings.out / "report.html", results, {}, {}, plots)
    return results


def _title(percentile: int) -> str:
    return "minimum" if percentile == 0 else f"{percentile} % point"


def _unasked(values: np.ndarray, percentile: int, value: float) -> Row:
    """The training set as if it had been asked: mean distance to the request."""
    off = float(np.abs(values - value).mean())
    facts = {"percentile": percentile, "target": value, "num_samples": len(values)}
    return Row(
        f"training set, {_title(percentile)}", "measured", "true values",
        {"target_mae": Estimate(off)}, facts,
    )  # fmt: skip
