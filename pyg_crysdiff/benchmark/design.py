"""The design benchmark: different hits against evaluations, for single draws and for loops.

Every method has the same knowledge at the start, the same oracle and the same number of
evaluations, and is repeated with several seeds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from pyg_crysdiff.benchmark.design_curves import (
    Counts,
    bands,
    counts_of,
    estimates,
    random_counts,
)
from pyg_crysdiff.benchmark.design_report import write_design_report
from pyg_crysdiff.benchmark.design_task import RANDOM, DesignTask, known_at_start
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import Crystal, CrystalDataset
from pyg_crysdiff.design import design
from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.curves import BASELINES
from pyg_crysdiff.design.given import load_predictors
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.oracles import LookupOracle, find_oracle
from pyg_crysdiff.evaluation.lookup import has_value
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.known import Database
from pyg_crysdiff.models import LoadedModel, load_checkpoint
from pyg_crysdiff.parallel import available_cores
from pyg_crysdiff.platform import choose_device
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.storage import only_writer, write_json
from pyg_crysdiff.training import train

Say = Callable[[str], None]


def run_design(
    settings: Settings,
    task: DesignTask | None = None,
    say: Say = lambda _: None,
    progress: bool = True,
) -> Results:
    """Run all methods with all seeds, and write table, curves and report.

    Every run is a folder of :func:`pyg_crysdiff.design.design`; the same call goes on after an
    interruption. The generator of a seed is the checkpoint ``seedK``, else the one checkpoint that
    is given, else the first of ``settings.models``, trained on what is known at the start.

    Args:
        settings: Data set, checkpoints or models, seed, output folder.
        task: What is searched for and how; None for the defaults.
        say: Receives a line at the start of every stage.
        progress: Show progress bars.

    Raises:
        ValueError: If a setting is bad, or there is neither an oracle nor a set to look up in.
    """
    with only_writer(settings.out):
        return _Benchmark(settings, task or DesignTask(), say, progress).run()


class _Benchmark:
    def __init__(self, settings: Settings, task: DesignTask, say: Say, progress: bool) -> None:
        self.settings, self.task, self.say, self.progress = settings, task, say, progress
        self.started = time.perf_counter()
        self.data = Splits(settings)
        self.device = None if settings.device == "auto" else settings.device

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What is wanted: as given, or values at or below the limit of SR5."""
        if self.task.objectives:
            return self.task.objectives
        name, limits = self.data.train.property_name, self.data.train.success_thresholds
        if name is None or not limits:
            raise ValueError(f"{self.settings.dataset}: name what is wanted by --wanted")
        return (Objective(name, high=limits[0]),)

    @cached_property
    def parts(self) -> dict[str, list[Crystal]]:
        """All known crystals, of which those that are not known at the start can be found."""
        data = self.data
        return {
            "train": data.train.crystals(), "val": data.val.crystals(), "test": data.test.crystals()
        }  # fmt: skip

    @cached_property
    def oracle(self) -> Oracle:
        """Who evaluates."""
        names = [objective.name for objective in self.objectives]
        if self.task.oracles:
            return find_oracle(
                list(self.task.oracles), names, timeout=self.task.timeout,
                folder=self.settings.out / "oracle", device=self.device or "cpu",
                data=self.settings.data_options(),
            )  # fmt: skip
        if self.data.train.space_size is None:
            raise ValueError(
                f"{self.settings.dataset} is not the whole of its space, so it cannot be looked "
                "up: name an --oracle"
            )
        return LookupOracle(self.parts, names)

    @cached_property
    def predictors(self) -> list[PropertyModel]:
        """Trained models from which the choice starts."""
        device = choose_device(self.device)
        return load_predictors(self.task.predictors, self.data.train, device)

    def run(self) -> Results:
        curves: dict[str, list[Counts]] = defaultdict(list)
        facts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for seed in range(self.settings.seed, self.settings.seed + self.task.seeds):
            known, words = known_at_start(
                self.data.train.crystals(), self.objectives[0].name, self.task, seed
            )
            for method in self.task.methods:
                self.say(f"seed {seed}, {method}")
                counts, one = self._method(method, seed, known, words)
                curves[method].append(counts)
                facts[method].append(one)
                self.say(f"seed {seed}, {method}: {counts[-1]} hits of {len(counts) - 1}")
        results = self._results(curves, facts, words)
        results.save(self.settings.out / "results.json")
        rows = bands(curves, max(1, self.task.batch // 5))
        write_json(self.settings.out / "curves.json", rows)
        for method, runs in facts.items():
            self._leave_curves(runs, {k: v for k, v in rows.items() if k != method})
        write_design_report(self.settings.out / "report.html", results, rows, facts)
        return results

    def _method(
        self, method: str, seed: int, known: list[Crystal], words: str
    ) -> tuple[Counts, dict[str, Any]]:
        """Run one method with one seed; return its curve and facts."""
        if method == RANDOM:
            given = {crystal.digest() for crystal in known}
            pool = [c for part in self.parts.values() for c in part if c.digest() not in given]
            pool = [c for c in pool if all(has_value(c, o.name) for o in self.objectives)]
            return random_counts(pool, self.objectives, self.task.budget, seed), {"seed": seed}
        model, trained = self._generator(seed, known, words)
        folder = self.settings.out / "runs" / f"{file_stem(method)}-seed{seed}"
        database = self.task.known
        found = design(
            model.path, self.objectives, self.oracle, self.task.budget, folder,
            settings=self.task.settings(method, seed, self.settings.sampler, self.device),
            data=known,
            known=None if database is None else Database(database), control=self.task.control,
            predictors=self.predictors if self.task.chooses(method) else (),
            about={"checkpoint": str(model.path), "data": self.settings.dataset}, report=False,
            say=self.say, progress=self.progress,
        )  # fmt: skip
        counts = counts_of(found.ledger)
        return counts, {
            "seed": seed,
            "folder": str(folder.relative_to(self.settings.out)),
            "checkpoint": model.digest,
            **trained,
            **_told(found.ledger),
        }

    def _generator(
        self, seed: int, known: Sequence[Crystal], words: str
    ) -> tuple[LoadedModel, dict[str, Any]]:
        """Return the generator of a seed, and facts of its training."""
        given = dict(self.settings.checkpoints)
        path = given.get(f"seed{seed}")
        if path is None and len(given) == 1 and not next(iter(given)).startswith("seed"):
            path = next(iter(given.values()))
        if path is not None:
            return load_checkpoint(path), {"generator": str(path)}
        if not self.settings.models:
            raise ValueError(f"there is no generator for seed {seed}: --models, or --checkpoint")
        name = self.settings.models[0]
        self.say(f"seed {seed}, {name}: training on {words}")
        config = self.settings.training_config(name) | {"seed": seed}
        val, _ = known_at_start(self.parts["val"], self.objectives[0].name, self._val_task(), seed)
        names = [self.objectives[0].name]
        sets = (
            CrystalDataset.from_crystals(known, names),
            CrystalDataset.from_crystals(val, names),
        )
        folder = self.settings.out / "models" / f"{file_stem(name)}-seed{seed}"
        result = train(config, folder, data=sets, progress=self.progress)
        facts = {"generator": name, "training_seconds": round(result.seconds, 1)}
        return load_checkpoint(result.checkpoint), facts | {"epochs": result.epochs}

    def _val_task(self) -> DesignTask:
        """Return what is known of the validation part: a tenth of what is known of train."""
        start = None if self.task.start is None else max(20, self.task.start // 10)
        return replace(self.task, start=start)

    def _leave_curves(self, runs: Sequence[dict[str, Any]], others: dict[str, Any]) -> None:
        """Give the curves of the other methods to the reports of single runs."""
        from pyg_crysdiff.design.report import write_report  # noqa: PLC0415

        for run in runs:
            if "folder" in run:
                folder = self.settings.out / run["folder"]
                write_json(folder / BASELINES, others)
                write_report(folder)

    def _results(
        self,
        curves: dict[str, list[Counts]],
        facts: dict[str, list[dict[str, Any]]],
        words: str,
    ) -> Results:
        rows = []
        for method, some in curves.items():
            details = {"num_samples": self.task.budget, "seeds": len(some), "runs": facts[method]}
            found = estimates(some, self.task.budget)
            rows.append(Row(method, "measured", "this run", found, details))
        task = asdict(replace(self.task, oracles=()))
        task["objectives"] = [str(o) for o in self.objectives]
        task["control"] = self.task.control.describe() if self.task.control else None
        task["known"] = str(self.task.known) if self.task.known else None
        return Results.of(
            rows,
            dataset=self.data.train.display_name,
            split=self.data.train.split_description,
            seed=self.settings.seed,
            task="design",
            settings={
                "wanted": [str(objective) for objective in self.objectives],
                "oracle": getattr(self.oracle, "title", self.oracle.identity),
                "known_at_start": words,
                "num_train": len(self.data.train),
                "num_reference": len(self.data.test),
                "design": task,
                "cores": available_cores(),
                "seconds": round(time.perf_counter() - self.started, 1),
            },
        )


def _told(ledger: Ledger) -> dict[str, Any]:
    """Return what the rounds of a run say of themselves."""
    rounds = ledger.rounds()
    table = ledger.evaluations()
    learnt = [one["learning"]["accepted"] for one in rounds if one.get("learning")]
    return {
        "rounds": len(rounds),
        "seconds": round(sum(sum(one.get("seconds", {}).values()) for one in rounds), 1),
        "drawn": sum(one["drawn"] for one in rounds),
        "candidates": sum(one["candidates"] for one in rounds),
        "failed": int((table["problem"] != "").sum()),
        "hits": int(table["hit"].sum()),
        "fine_tunings": len(learnt),
        "accepted": sum(learnt),
    }
