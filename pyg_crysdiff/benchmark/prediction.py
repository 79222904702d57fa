"""Crystal structure prediction: test compositions to structures, one or several candidates each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
from pymatgen.core import Element

from pyg_crysdiff.baselines import published_rows
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.relaxed_candidates import Candidates, Relaxation, lowest
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.candidates import (
    CandidateDistances,
    agreement,
    candidate_distances,
    candidate_metrics,
)
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.models import LoadedModel
from pyg_crysdiff.sampling import Control, sample
from pyg_crysdiff.storage import only_writer, write_text

Say = Callable[[str], None]


def run_prediction(settings: Settings, say: Say = lambda _: None, progress: bool = True) -> Results:
    """Predict the structures of test compositions; write tables, candidates, structures.

    Models of the family ``csp`` are trained where no checkpoint is given. Every stage leaves its
    result on disk; the same call goes on after an interruption.

    A model has a row with its candidates as drawn and, where there are several, one with a single
    answer for each composition: the candidate that most of the others match. With
    ``settings.relax`` there is a row with all candidates after their relaxation too, and one whose
    single answer is the relaxed candidate of the lowest energy.

    Raises:
        ValueError: If a setting is bad, or the output folder is of another run.
        ModuleNotFoundError: If a relaxation is asked for whose package is not installed.
    """
    relaxation = Relaxation.of(settings)  # a missing package is told before anything is trained
    with only_writer(settings.out):
        return _Prediction(settings, relaxation, say, progress).run()


def formula_of(crystal: Crystal) -> str:
    """Return the exact composition of a crystal, such as Ti2O4."""
    counts = Counter(crystal.atomic_numbers.tolist())
    return "".join(f"{Element.from_Z(z).symbol}{n}" for z, n in sorted(counts.items()))


class _Prediction:
    def __init__(
        self, settings: Settings, relaxation: Relaxation | None, say: Say, progress: bool
    ) -> None:
        self.settings, self.relaxation = settings, relaxation
        self.say, self.progress = say, progress
        self.data = Splits(settings)
        self.test = self.data.test
        known = self.test.crystals()
        self.truth = [known[k] for k in settings.chosen(len(known))]

    def run(self) -> Results:
        started = time.perf_counter()
        settings = self.settings
        rows: list[Row] = []
        overrides = ("family=csp", "properties=[]", *settings.overrides)
        own = replace(settings, train_design={}, train_model={}, overrides=overrides)
        for label, model, facts in generators(own, self.data, self.say, self.progress):
            rows += self._rows(label, model, facts)
        rows += published_rows(settings.dataset, "prediction")
        results = Results.of(
            rows,
            dataset=self.test.display_name,
            split=self.data.train.split_description,
            seed=settings.seed,
            task="prediction",
            settings={
                "num_train": len(self.data.train),
                "num_reference": len(self.test),
                "num_compositions": len(self.truth),
                "candidates": settings.candidates,
                "relax": settings.relax,
                **settings.sampler.to_dict(),
                "seconds": round(time.perf_counter() - started, 1),
            },
        )
        results.save(settings.out / "results.json")
        return results

    def _rows(self, label: str, model: LoadedModel, facts: dict[str, Any]) -> list[Row]:
        """Return the rows of one model: as drawn, relaxed, and the lowest of the relaxed."""
        drawn, seconds = self._draw(label, model)
        details = {
            **facts,
            "checkpoint": model.digest,
            "sampling_seconds": seconds,
            "num_samples": len(self.truth),
            "per_composition": len(drawn),
            "constraints": {"composition": "given"},
            **self.settings.sampler.to_dict(),
        }
        as_drawn = self._compare(label, drawn)
        rows = [self._row(label, as_drawn, details)]
        one_of = {"candidates": len(drawn)}
        if len(drawn) > 1:
            title = f"{label}, most agreed of {len(drawn)}"
            self.say(f"{title}: matching candidates with each other")
            chosen = agreement(drawn, progress=self.progress).argmax(0)
            rows.append(self._row(title, as_drawn.of_chosen(chosen), details | one_of))
        if self.relaxation is None:
            return rows
        title = f"{label}, relaxed with {self.relaxation.title}"
        self.say(f"{title}: at most {self.relaxation.steps} steps for each candidate")
        relaxed, energies, found = self.relaxation.run(drawn, file_stem(title), self.progress)
        details = {**details, **found}
        distances = self._compare(title, relaxed)
        rows.append(self._row(title, distances, details))
        if len(relaxed) > 1:
            title = f"{label}, lowest energy of {len(relaxed)}, relaxed"
            chosen = lowest(energies)
            rows.append(self._row(title, distances.of_chosen(chosen), details | one_of))
        return rows

    def _draw(self, label: str, model: LoadedModel) -> tuple[Candidates, float]:
        """Return lists of first, second, ... candidates, each in the order of the truth."""
        count, size = self.settings.candidates, len(self.truth)
        self.say(f"{label}: {count} candidates for each of {size} compositions")
        started = time.perf_counter()
        crystals = sample(
            model,
            size * count,
            target=None,
            control=Control(formulas=tuple(map(formula_of, self.truth))),
            seed=self.settings.seed,
            num_atoms="distribution",
            guidance=1.0,
            sampler=self.settings.sampler,
            device=self.settings.device,
            out=self.settings.out / "samples" / file_stem(label),
            progress=self.progress,
        )
        parts = [crystals[k * size : (k + 1) * size] for k in range(count)]
        return parts, round(time.perf_counter() - started, 1)

    def _compare(self, title: str, candidates: Candidates) -> CandidateDistances:
        self.say(f"{title}: matching")
        distances = candidate_distances(candidates, self.truth, progress=self.progress)
        if distances.pooled is None:
            which = "METRe" if distances.first is None else "METRe of all candidates"
            self.say(f"{title}: {which} is left out, since too many pairs would be compared")
        return distances

    def _row(self, title: str, distances: CandidateDistances, details: dict[str, Any]) -> Row:
        """Return the rates of a row, and leave its distances in a table."""
        columns = [f"candidate_{k + 1}" for k in range(len(distances.own))]
        table = pd.DataFrame(distances.own.T, columns=columns)
        table.insert(0, "material_id", [c.info.get("material_id", "") for c in self.truth])
        table.insert(1, "formula", [formula_of(c) for c in self.truth])
        path = self.settings.out / "tables" / f"{file_stem(title)}.csv"
        write_text(path, table.to_csv(index=False))
        metrics = candidate_metrics(distances, self.truth, self.settings.seed)
        return Row(title, "measured", "this run", metrics, details)
