"""The stages of a benchmark run; each leaves its result on disk and is not repeated.

Evaluator -> its view of the best training crystals -> per model: training on the
train split, conditional samples, with several draws the best of them by a predictor trained on the
train split, unconditional samples from the same weights -> one protocol for all samples ->
results.json, tables, plots, report.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyg_crysdiff.baselines import Baseline, LiveRequest, load_baseline, published_rows, run_live
from pyg_crysdiff.benchmark.evaluators import (
    check_independent,
    draw_errors,
    property_model,
    thresholds_origin,
    unseen,
)
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.plots import write_plots
from pyg_crysdiff.benchmark.report import write_report
from pyg_crysdiff.benchmark.representations import draw_representations
from pyg_crysdiff.benchmark.sampling import draw, request, sizes
from pyg_crysdiff.benchmark.scoring import score
from pyg_crysdiff.benchmark.selection import choose, symmetrised_copies
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.readers import read_and_tell
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.models import LoadedModel
from pyg_crysdiff.platform import choose_device
from pyg_crysdiff.property.judges import measured_card
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.sampling.request import Target
from pyg_crysdiff.storage import only_writer

Say = Callable[[str], None]
UNCONDITIONAL = "unconditional"
REFERENCE = "training crystals below SR5's limit"


def run_benchmark(settings: Settings, say: Say = lambda _: None, progress: bool = True) -> Results:
    """Run, or go on with, a benchmark and write all its files to ``settings.out``.

    Args:
        settings: What to do.
        say: Receives a line at the start of every stage.
        progress: Show progress bars.

    Raises:
        ValueError: If a setting or a file is bad.
        FileNotFoundError: If data or a file is missing.
    """
    with only_writer(settings.out):
        return _Run(settings, say, progress).run()


class _Run:
    def __init__(self, settings: Settings, say: Say, progress: bool) -> None:
        self.settings, self.say, self.progress = settings, say, progress
        self.out = settings.out
        self.rows: list[Row] = []
        self.evaluations: dict[str, Evaluation] = {}
        self.crystals: dict[str, list[Crystal | BrokenEntry]] = {}
        self.started = time.perf_counter()

    def run(self) -> Results:
        settings = self.settings
        self.say(f"data: {settings.dataset}")
        self.data = Splits(settings)
        self.train, self.test = self.data.train, self.data.test
        name = self.train.property_name
        if name is None:
            raise ValueError(f"{settings.dataset} has no numeric property to optimise")
        self.property = name
        values = [c.info[name] for c in self._known]
        self.target = min(values) if settings.target is None else settings.target
        self.evaluator = self._evaluator()
        self.protocol = self._protocol()
        self._reference_row()
        for label, model, facts in generators(settings, self.data, self.say, self.progress):
            self._sample_model(label, model, facts)
        for label, path in settings.samples:
            self._score(label, read_and_tell(path, self.say), str(path), {})
        for label, path in settings.baselines:
            self._baseline(load_baseline(label), path)
        results = self._results()
        results.save(self.out / "results.json")
        plots = write_plots(
            self.out / "plots", results, self.evaluations, self.property, values, self.target
        )
        title, known = unseen(self.evaluator, self._known, self.test.crystals())
        plots[title] = draw_errors(
            self.out / "plots" / "evaluator.png", self.evaluator, known,
            self.protocol.named_thresholds(), settings.seed,
        )  # fmt: skip
        if self.crystals:
            plots["Representations of test crystals and samples"] = draw_representations(
                self.out / "plots" / "representations.png",
                self.test.crystals(),
                self.crystals,
                settings.seed,
            )
        write_report(self.out / "report.html", results, self.evaluations, self.crystals, plots)
        return results

    @cached_property
    def _known(self) -> list[Crystal]:
        """Training crystals whose value of the property is known."""
        known, count = with_value(self.train.crystals(), self.property), len(self.train)
        if not known:
            raise ValueError(f"no training crystal has a value of {self.property!r}")
        if len(known) < count:
            self.say(f"{count - len(known)} of {count} training crystals have no {self.property}")
        return known

    def _evaluator(self) -> PropertyModel:
        judge = property_model(
            self.settings, "evaluator", self.test, self.property, self.say, self.progress
        )
        return check_independent(self.settings, judge, self.test)

    @cached_property
    def _predictor(self) -> PropertyModel:
        return property_model(
            self.settings, "predictor", self.train, self.property, self.say, self.progress
        )

    def _protocol(self) -> Protocol:
        families = self.test.coverage_cutoffs if self.settings.coverage else {}
        return Protocol(
            task="optimisation",
            reference=self.test.crystals(),
            train=self.train.crystals(),
            evaluator=self.evaluator,
            target=self.target,
            thresholds=self.train.success_thresholds,
            cutoffs=families,
            novelty_of=self.settings.novelty_of,
            seed=self.settings.seed,
            cache_dir=self.out / "cache",
            progress=self.progress,
        )

    def _reference_row(self) -> None:
        """Score training crystals that truly lie below SR5's limit: what the evaluator allows."""
        limits = self.protocol.success_thresholds()
        assert limits is not None
        lowest = sorted(self._known, key=lambda c: float(c.info[self.property]))
        below = [c for c in lowest if c.info[self.property] <= limits[0]]
        if below:
            chosen = below[: self.settings.num_samples]
            self._score(REFERENCE, chosen, "data set", {})

    def _sample_model(self, label: str, model: LoadedModel, facts: dict[str, Any]) -> None:
        if self.property not in model.model.statistics.properties:
            raise ValueError(f"{model.path} was not trained with the property {self.property!r}")
        settings = self.settings
        for target in (request(settings, self.property, self.target), None):
            name = label if target is not None else f"{label}, {UNCONDITIONAL}"
            self.say(f"{name}: {settings.num_samples} crystals")
            crystals, sampled = draw(settings, name, model, target, self.progress)
            details = {
                **facts,
                "checkpoint": model.digest,
                **sampled,
                "guidance": settings.guidance if target else None,
                "num_atoms": sizes(settings, target) if model.model.takes_sizes else "generated",
                "target": target,
            }
            self._score(name, crystals, "this run", details)
            if target is not None and settings.symmetrise > 0:
                self._symmetrise(name, crystals, details)
            if target is not None and settings.draws > 1:
                self._choose(name, crystals, model, target, details)

    def _symmetrise(self, name: str, crystals: list[Crystal], details: dict[str, Any]) -> None:
        """Score the same crystals, every one moved to the positions of its space group."""
        label, symprec = f"{name}, symmetrised", self.settings.symmetrise
        folder = self.out / "samples" / file_stem(label)
        copies = symmetrised_copies(crystals, symprec, folder, self.progress)
        self._score(label, copies, "this run", {**details, "symmetrised": symprec})

    def _choose(
        self,
        name: str,
        first: list[Crystal],
        model: LoadedModel,
        target: Target,
        details: dict[str, Any],
    ) -> None:
        """Score the best of all draws, chosen by the predictor: the crystals so far and more."""
        settings = self.settings
        label = f"{name}, best of {settings.draws}"
        others = replace(
            settings,
            num_samples=len(first) * (settings.draws - 1),
            seed=settings.seed + 1,
        )
        self.say(f"{label}: {others.num_samples} further candidates")
        more, sampled = draw(others, f"{name}, candidates", model, target, self.progress)
        candidates = [*first, *more]
        stem = file_stem(label)
        chosen = choose(
            candidates, len(first), settings, self.target, self._predictor,
            self.out / "tables" / f"{stem}.chosen.json", self.out / "samples" / stem, self.progress,
        )  # fmt: skip
        facts = {
            **details,
            "candidates": len(candidates),
            "copies": settings.copies,
            "symmetrised": settings.symmetrise,
            "predictor_mae": self._predictor.card.get("held_out_mae"),
        }
        if "sampling_seconds" in details and "sampling_seconds" in sampled:
            total = details["sampling_seconds"] + sampled["sampling_seconds"]
            facts["sampling_seconds"] = round(total, 1)
        self._score(label, chosen, "this run", facts)

    def _baseline(self, baseline: Baseline, path: Path) -> None:
        """Score a peer's samples; train and sample it first where ``path`` is its checkout."""
        if not (path.is_dir() and baseline.is_checkout(path)):
            file = baseline.find_samples(path, "optimisation")
            self._score(baseline.title, read_and_tell(file, self.say), str(file), {})
            return
        settings, live = self.settings, baseline.live
        assert live is not None
        self.say(f"{baseline.title}: training and sampling {path}")
        train = self._known
        request = LiveRequest(
            checkout=str(path.resolve()),
            work=str((self.out / "live" / baseline.name).resolve()),
            config=live.configs.get(settings.dataset, live.configs["own"]),
            property_name=self.property,
            max_atoms=max(len(c) for c in train),
            minutes=settings.budget_minutes,
            num_samples=settings.num_samples,
            langevin_steps=settings.baseline_steps,
            seed=settings.seed,
            device=str(choose_device(settings.device)),
        )
        val = with_value(self.data.val.crystals(), self.property)
        samples, facts = run_live(baseline, request, train, val)
        labels = {"optimisation": "", "generation": f", {UNCONDITIONAL}"}
        for task, label in labels.items():
            if task in samples:
                name = f"{baseline.title} (live){label}"
                self._score(name, samples[task], str(path), facts)

    def _score(
        self,
        name: str,
        entries: list[Crystal] | list[Crystal | BrokenEntry],
        source: str,
        details: dict[str, Any],
    ) -> None:
        found = score(self.out, name, entries, self.protocol, self.say)
        facts = {**details, "num_samples": len(entries)}
        self.rows.append(Row(name, "measured", source, found.metrics, facts))
        self.evaluations[name], self.crystals[name] = found, list(entries)

    def _results(self) -> Results:
        published = published_rows(self.settings.dataset, "optimisation")
        return Results.of(
            [*self.rows, *published],
            dataset=self.train.display_name,
            split=self.train.split_description,
            seed=self.settings.seed,
            task="optimisation",
            settings={
                "command": " ".join(sys.argv),
                "property": self.property,
                "target": self.target,
                "thresholds": self.protocol.named_thresholds(),
                "thresholds_from": thresholds_origin(self.train),
                "num_train": len(self.train),
                "num_reference": len(self.test),
                "evaluator": measured_card(self.evaluator, self.test.crystals()),
                "benchmark": json.loads(json.dumps(asdict(self.settings), default=str)),
                "python": platform.python_version(),
                "cores": len(os.sched_getaffinity(0))
                if hasattr(os, "sched_getaffinity")
                else os.cpu_count(),
                "seconds": round(time.perf_counter() - self.started, 1),
            },
        )
