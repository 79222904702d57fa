"""A leaderboard of stable, unique and novel crystals: any sample files and our own models.

Every row has as many crystals, relaxed by the same judges with the same settings, and is placed
above the same hulls. The hulls are given, or made of the data set's known crystals in the chemical
systems of the samples, relaxed likewise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyg_crysdiff.benchmark.evaluators import property_model
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.report import write_report
from pyg_crysdiff.benchmark.scoring import score
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.benchmark.sun_samples import SampleSet, sample_sets
from pyg_crysdiff.benchmark.sun_settings import SunSettings
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol, valid_crystals
from pyg_crysdiff.evaluation.hull import HullFile
from pyg_crysdiff.evaluation.known_phases import (
    bias_of,
    chemical_systems,
    energies_of,
    hull_key,
    in_systems,
    lowest_of_composition,
    make_hull,
)
from pyg_crysdiff.evaluation.reference import reference_folder
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.evaluation.stability_settings import Stability
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.relaxation import Judge
from pyg_crysdiff.storage import file_name, kept, only_writer

Say = Callable[[str], None]
NO_EVALUATOR = "none"


def run_sun(
    settings: Settings,
    sun: SunSettings | None = None,
    say: Say = lambda _: None,
    progress: bool = True,
    sample_only: bool = False,
) -> Results | None:
    """Relax and score all sample sets, and write table, structures and report.

    Every stage leaves its result on disk; the same call goes on after an interruption.

    Args:
        settings: Data set, samples, models, number of crystals, output folder.
        sun: Judges, hulls, relaxation; None for the defaults.
        say: Receives a line at the start of every stage.
        progress: Show progress bars.
        sample_only: Draw the crystals of the models, and end.

    Returns:
        The results; None where only a part was done, of relaxations or of the stages.

    Raises:
        ValueError: If a setting or a file is bad, or there is nothing to score.
        ModuleNotFoundError: If the package of a judge is missing.
    """
    sun = sun or SunSettings()
    if sun.shard is not None:
        _Leaderboard(settings, sun, say, progress).relax_part(sun.shard)
        return None
    with only_writer(settings.out):
        board = _Leaderboard(settings, sun, say, progress)
        return None if sample_only and board.sets else board.run()


class _Leaderboard:
    def __init__(self, settings: Settings, sun: SunSettings, say: Say, progress: bool) -> None:
        self.settings, self.sun, self.say, self.progress = settings, sun, say, progress
        self.started = time.perf_counter()
        self.data = Splits(settings)
        self.sets: list[SampleSet] = list(sample_sets(settings, sun, self.data, say, progress))
        if not self.sets:
            raise ValueError("nothing to score: name --samples NAME=FILE, --checkpoint or --models")
        self.running = sun.running(progress)

    def relax_part(self, shard: tuple[int, int]) -> None:
        """Relax every n-th crystal of the samples and of the hulls into the cache."""
        k, n = shard
        samples = self._valid()
        for judge in self.sun.potentials:
            todo = list(samples)
            if judge.name not in self.sun.hulls:
                todo += self._phases(samples)
            self.say(f"{judge.title}: part {k}/{n}, {len(todo[k::n]):,} crystals")
            energies_of(todo[k::n], judge, self.sun.relax, **self.running)

    def run(self) -> Results:
        samples = self._valid()
        hulls = {judge.name: self._hull(judge, samples) for judge in self.sun.potentials}
        self.evaluator = self._evaluator()
        protocol = self._protocol(hulls)
        rows: list[Row] = []
        evaluations: dict[str, Evaluation] = {}
        for each in self.sets:
            found = score(self.settings.out, each.name, each.entries, protocol, self.say)
            for line in found.facts["warnings"]:
                self.say(f"{each.name}: warning: {line}")
            details = {"num_samples": len(each.entries), **each.details, **found.facts}
            rows.append(Row(each.name, "measured", each.source, found.metrics, details))
            evaluations[each.name] = found
        results = self._results(rows, protocol, hulls)
        results.save(self.settings.out / "results.json")
        crystals = {each.name: each.entries for each in self.sets}
        write_report(self.settings.out / "report.html", results, evaluations, crystals, {})
        return results

    def _valid(self) -> list[Crystal]:
        """Return the valid crystals of all sets, which are the ones that are relaxed."""
        every = [entry for each in self.sets for entry in each.entries]
        return valid_crystals(
            every, validity=self.sun.validity, num_workers=self.sun.num_workers,
            progress=self.progress,
        )  # fmt: skip

    def _known(self) -> list[Crystal]:
        """Return the known crystals of all parts of the data set."""
        parts = (self.data.train, self.data.val, self.data.test)
        return [crystal for part in parts for crystal in part.crystals()]

    def _phases(self, samples: Sequence[Crystal]) -> list[Crystal]:
        """Return the known crystals that the hulls of the samples need."""
        known = in_systems(self._known(), chemical_systems(samples))
        if self.sun.lowest is not None:
            known = lowest_of_composition(known, self.sun.lowest)
        return known

    def _hull(self, judge: Judge, samples: Sequence[Crystal]) -> Path:
        """Return the hull file of a judge: the given one, or one that is made here and kept."""
        if judge.name in self.sun.hulls:
            return self.sun.hulls[judge.name]
        path = self.settings.out / f"hull-{file_name(judge.name)}.json.gz"
        phases = self._phases(samples)
        key = hull_key(phases, judge, self.sun.relax)

        def read(file: Path) -> HullFile:
            found = HullFile.read(file)
            if found.facts.get("key") != key:
                raise ValueError(f"{file} is the hull of other crystals")
            return found

        def make() -> HullFile:
            self.say(f"hull of {len(phases):,} known crystals by {judge.title}")
            facts = {"key": key, "lowest": self.sun.lowest, "systems": "of the samples"}
            hull = make_hull(
                phases, judge, self.sun.relax, source=self.data.train.display_name, facts=facts,
                **self.running,
            )  # fmt: skip
            return hull.with_facts(bias=bias_of(hull, samples).facts())

        kept(path, read, make, lambda file, hull: hull.write(file))
        return path

    def _evaluator(self) -> PropertyModel | None:
        name = self.data.train.property_name
        if name is None or self.settings.evaluator == NO_EVALUATOR:
            return None
        return property_model(
            self.settings, "evaluator", self.data.test, name, self.say, self.progress
        )

    def _protocol(self, hulls: dict[str, Path]) -> Protocol:
        sun, relax = self.sun, self.sun.relax
        stability = Stability(
            hull=hulls, judges=sun.judges, steps=relax.steps, fmax=relax.fmax, smax=relax.smax,
            cell=relax.cell, device=sun.device, cache_dir=sun.cache_dir,
            num_workers=sun.num_workers,
        )  # fmt: skip
        return Protocol(
            train=self.data.train.crystals(),
            evaluator=self.evaluator,
            thresholds=self.data.train.success_thresholds,
            interval=sun.interval,
            database=sun.database,
            validity=sun.validity,
            stability=stability,
            seed=self.settings.seed,
            num_workers=sun.num_workers,
            cache_dir=reference_folder(),
            progress=self.progress,
        )

    def _results(self, rows: list[Row], protocol: Protocol, hulls: dict[str, Path]) -> Results:
        said: dict[str, Any] = {
            "judges": [judge.title for judge in self.sun.potentials],
            "relaxation": self.sun.relax.key,
            "hulls": {name: _hull_facts(path) for name, path in hulls.items()},
            "novel_against": str(self.sun.database or "training set"),
            "num_train": len(self.data.train),
            "num_reference": len(self.data.test),
            "on_target": _target(protocol),
            "validity": self.sun.validity,
            "property_evaluator": self.evaluator and self.evaluator.card,
            "files": {each.name: f"tables/{file_stem(each.name)}.csv" for each in self.sets},
            "seconds": round(time.perf_counter() - self.started, 1),
        }
        return Results.of(
            rows, dataset=self.data.train.display_name, split=self.data.train.split_description,
            seed=self.settings.seed, task="sun", settings=said,
        )  # fmt: skip


def _hull_facts(path: Path) -> dict[str, Any]:
    hull = HullFile.read(path)
    facts = {key: value for key, value in hull.facts.items() if key != "key"}
    return {
        "file": str(path), "judge": hull.judge, "settings": dict(hull.settings),
        "scheme": hull.scheme, "source": hull.source, "phases": len(hull.phases), **facts,
    }  # fmt: skip


def _target(protocol: Protocol) -> str | None:
    """Say in words what is on target."""
    if protocol.evaluator is None:
        return None
    name = protocol.evaluator.property_name
    if protocol.interval is not None:
        low, high = protocol.interval
        return f"{name} from {low:.6g} to {high:.6g}"
    limits = protocol.success_thresholds()
    return None if limits is None else f"{name} at or below {limits[0]:.6g} (SR5)"
