"""The stages of a benchmark run; each leaves its result on disk and is not repeated.

Evaluator -> its view of the best training crystals -> per model: training on the
train split, conditional samples, with several draws those that a predictor trained on the
train split chooses, unconditional samples from the same weights -> one protocol for all samples ->
results.json, tables, plots, report.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pyg_crysdiff.baselines import load_baseline
from pyg_crysdiff.benchmark.asks import PAPER, asks, bounds
from pyg_crysdiff.benchmark.evaluators import (
    check_independent,
    draw_errors,
    property_model,
    thresholds_origin,
    unseen,
)
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.hit_plots import write_hit_plots
from pyg_crysdiff.benchmark.known import known_crystals, lookup_settings
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.peers import peer_samples, published_peers
from pyg_crysdiff.benchmark.plots import write_plots
from pyg_crysdiff.benchmark.report import write_report
from pyg_crysdiff.benchmark.representations import draw_representations
from pyg_crysdiff.benchmark.sampling import draw
from pyg_crysdiff.benchmark.scoring import score
from pyg_crysdiff.benchmark.selection import choose, symmetrised_copies, write_samples
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.readers import read_and_tell
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol
from pyg_crysdiff.evaluation.reference import reference_folder
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.models import LoadedModel
from pyg_crysdiff.parallel import available_cores
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.sampling.request import Target
from pyg_crysdiff.storage import only_writer

Say = Callable[[str], None]
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
            for peer in peer_samples(
                settings, load_baseline(label), path, self.data, self.property, self.say
            ):
                self._score(peer.name, peer.entries, peer.source, peer.details)
        results = self._results()
        results.save(self.out / "results.json")
        plots = write_plots(
            self.out / "plots", results, self.evaluations, self.property, values, self.target
        )
        plots |= write_hit_plots(self.out / "plots", results, self.evaluations)
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
            lookup=known_crystals(self.settings, self.data),
            cutoffs=families,
            novelty_of=self.settings.novelty_of,
            seed=self.settings.seed,
            cache_dir=reference_folder(),
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
        facts = {**facts, "checkpoint": model.digest}
        rows = asks(self.settings, self.property, self.target, model.model.presets)
        widest = [ask for ask in rows if ask.request and ask.ending != PAPER][-1]
        for ask in rows:
            name, settings = ask.name(label), ask.settings
            self.say(f"{name}: {settings.num_samples} crystals")
            crystals, sampled = draw(settings, name, model, ask.target, self.progress)
            compared = bounds(self.settings, settings.num_samples)
            details = {**facts, "request": ask.request, **sampled, **compared}
            self._score(name, crystals, "this run", details, compared)
            if ask.request and ask.ending != PAPER and settings.symmetrise > 0:
                self._symmetrise(name, crystals, details)
            if ask is widest and settings.draws > 1:
                self._choose(name, crystals, model, ask.target, details)

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
        """Score those of all draws that the predictor chose: of the crystals so far and more."""
        settings = self.settings
        others = replace(
            settings,
            num_samples=len(first) * (settings.draws - 1),
            seed=settings.seed + 1,
        )
        self.say(f"{name}: {others.num_samples} further candidates")
        more, sampled = draw(others, f"{name}, candidates", model, target, self.progress)
        candidates = [*first, *more]
        file = self.out / "tables" / f"{file_stem(name)}-chosen.json"
        chosen = choose(
            candidates, len(first), settings, self.target, self._predictor, file, self.progress
        )
        label = f"{name}, {len(chosen):,} chosen of {len(candidates):,}"
        write_samples(chosen, self.out / "samples" / file_stem(label))
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

    def _score(
        self,
        name: str,
        entries: list[Crystal] | list[Crystal | BrokenEntry],
        source: str,
        details: Mapping[str, Any],
        compared: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        protocol = replace(self.protocol, num_starts=details.get("num_starts"), **compared)
        found = score(self.out, name, entries, protocol, self.say)
        facts = {**details, "num_samples": len(entries)}
        self.rows.append(Row(name, "measured", source, found.metrics, facts))
        self.evaluations[name], self.crystals[name] = found, list(entries)

    def _results(self) -> Results:
        published = published_peers(self.settings.dataset)
        return Results.of(
            [*self.rows, *published],
            dataset=self.train.display_name,
            split=self.train.split_description,
            seed=self.settings.seed,
            task="optimisation",
            settings={
                "property": self.property,
                "target": self.target,
                "thresholds": self.protocol.named_thresholds(),
                "thresholds_from": thresholds_origin(self.train),
                **lookup_settings(self.protocol, self.data),
                "num_train": len(self.train),
                "num_reference": len(self.test),
                "evaluator": self.evaluator.card,
                "benchmark": json.loads(json.dumps(asdict(self.settings), default=str)),
                "python": platform.python_version(),
                "cores": available_cores(),
                "seconds": round(time.perf_counter() - self.started, 1),
            },
        )
