"""Design: rounds of drawing, filtering, choosing, evaluating and learning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.evaluating import close_last, evaluate
from pyg_crysdiff.design.evidence import comparable, evaluated
from pyg_crysdiff.design.filtering import Known
from pyg_crysdiff.design.given import given_predictors
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.ledger_tables import COLUMNS
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.outcome import write_outcome
from pyg_crysdiff.design.planning import Planner
from pyg_crysdiff.design.settings import DesignSettings, run_record
from pyg_crysdiff.design.watch import Watch
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.evaluation.predictor import PropertyPredictor
from pyg_crysdiff.models.checkpoint import LoadedModel, load_checkpoint
from pyg_crysdiff.platform import choose_device
from pyg_crysdiff.sampling.control import Control
from pyg_crysdiff.storage import user_path

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DesignResult:
    """What a design run has brought so far.

    Attributes:
        ledger: Everything, opened for reading.
        evaluated: A line for every evaluation (:meth:`Ledger.evaluations`).
        hits: Crystals that meet all objectives, relaxed where the oracle relaxes, with key and
            values in ``info``.
        waiting: Keys of the evaluations that are still under way.
        finished: Whether the budget is used up, or nothing new was found to evaluate.
    """

    ledger: Ledger
    evaluated: pd.DataFrame
    hits: list[Crystal]
    waiting: tuple[str, ...]
    finished: bool


def design(
    checkpoint: str | Path,
    objectives: Sequence[Objective],
    oracle: Oracle,
    budget: int,
    out: str | Path,
    *,
    settings: DesignSettings | None = None,
    data: Sequence[Crystal] = (),
    known: Known = None,
    control: Control | None = None,
    predictors: Sequence[PropertyPredictor] = (),
    trusted: Sequence[str] = (),
    wait: float | None = None,
    about: Mapping[str, Any] | None = None,
    report: bool = True,
    say: Callable[[str], None] = log.info,
    progress: bool = False,
) -> DesignResult:
    """Find crystals that meet all objectives with a given number of evaluations.

    In each round crystals are drawn and filtered, a predictor of what is known so far orders them,
    the best are evaluated, and predictor and, if so wished, generator learn from it. Everything is
    kept as it comes: the same call goes on after an interruption of any kind, and evaluates
    nothing twice. A call with a larger budget goes on too. Equal settings and seed give the same
    choices, in whatever order the answers come.

    Args:
        checkpoint: The generator: a file, or the name of one that comes with the package.
        objectives: What is wanted (:func:`pyg_crysdiff.design.read_objectives`).
        oracle: Who evaluates.
        budget: Evaluations, failed ones too.
        out: Folder of the run: ``ledger.sqlite``, ``report.html``, ``hits.csv``, ``hits.extxyz``,
            ``hits/`` with CIF files, ``rounds/``.
        settings: How to go about it; None for the defaults.
        data: Crystals with values in ``info``: the predictor starts from them, no candidate is
            one of them, and a generator that learns goes over them again.
        known: Further crystals, or a database, that no candidate may be.
        control: Hard constraints.
        predictors: Trained models of wanted numbers, from which the choice starts; what they get
            wrong is learnt from the evaluations. For the other numbers all is learnt in the run.
        trusted: Packages besides this one whose conditioners the checkpoint may name.
        wait: Seconds between two looks at evaluations that are under way; None to leave off.
        about: Names for the head of the report: ``checkpoint``, ``data``, ``known``, ``command``,
            ``versions``. The name of a data set gives units.
        report: Write ``report.html`` after every round.
        say: Is given a line about each step.
        progress: Show progress bars.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If an argument is out of range, the oracle does not give what is wanted, a
            request cannot be met, a given predictor does not fit, or the folder holds another run
            or is being written.
    """
    settings = settings or DesignSettings()
    _check(settings, objectives, oracle, budget, data, wait)
    given = given_predictors(predictors, objectives, oracle)
    model = load_checkpoint(checkpoint, choose_device(settings.device), trusted)
    data, left_out = comparable(data, oracle)
    if left_out:
        say(
            f"{', '.join(left_out)} of the data is not learnt from: the oracle measures it on a "
            "scale of its own"
        )
    record = run_record(
        settings, checkpoint=model.digest, objectives=objectives, oracle=oracle, budget=budget,
        data=data, known=known, control=control, predictors=predictors, about=about,
    )  # fmt: skip
    with Ledger(out, record) as ledger:
        planner = Planner(settings, objectives, data, known, control, progress, given)
        run = _Run(
            ledger, planner, oracle, budget, model, model.path, trusted, wait, report, say, progress
        )
        finished = run.go()
        write_outcome(ledger, report=report)
        waiting = tuple(ledger.waiting())
    read = Ledger(user_path(out))
    names = [objective.name for objective in objectives]
    hits = [c for c in evaluated(read, names, relaxed=True)[0] if c.info["hit"]]
    return DesignResult(read, read.evaluations(), hits, waiting, finished)


def _check(
    settings: DesignSettings,
    objectives: Sequence[Objective],
    oracle: Oracle,
    budget: int,
    data: Sequence[Crystal],
    wait: float | None,
) -> None:
    """Refuse what cannot be done before anything is loaded."""
    if budget < 1:
        raise ValueError(f"the budget must be at least one evaluation, got {budget}")
    if wait is not None and not wait > 0:
        raise ValueError(f"wait must be a number of seconds above 0, got {wait}")
    if not objectives:
        raise ValueError("name an objective: without one every crystal is a hit")
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"an objective is named twice: {', '.join(names)}")
    if reserved := [name for name in names if name in COLUMNS]:
        raise ValueError(f"no objective can be called {reserved[0]!r}: the ledger has it already")
    if oracle.names and (missing := [name for name in names if name not in oracle.names]):
        raise ValueError(
            f"the oracle gives {', '.join(oracle.names)}, and not {', '.join(missing)}; name an "
            "oracle for it, or another objective"
        )
    if settings.fine_tune is not None and not data:
        raise ValueError(
            "a generator that learns goes over its training data again, so that it forgets "
            "nothing: give data, or leave fine_tune out"
        )


@dataclass
class _Run:
    """A run while it goes on."""

    ledger: Ledger
    planner: Planner
    oracle: Oracle
    budget: int
    model: LoadedModel
    first: Path
    trusted: Sequence[str]
    wait: float | None
    report: bool
    say: Callable[[str], None]
    progress: bool

    def go(self) -> bool:
        """Make rounds until the budget is used up; False where results are awaited."""
        while True:
            watch = Watch()
            if not evaluate(
                self.ledger, self.oracle, self.wait, self.say, progress=self.progress, watch=watch
            ):
                return False
            last = close_last(self.ledger, self.say, self.planner.judge, watch.seconds)
            if last is not None and not last["chosen"]:
                self.say(
                    f"no new crystal among the {last['drawn']:,} drawn in round {last['round']}: "
                    f"the run ends with {self.ledger.asked} of {self.budget} evaluations. Ask for "
                    "something else in another folder: a wider request, fewer constraints, "
                    "more per composition"
                )
                return True
            left = self.budget - self.ledger.asked
            if left <= 0:
                return True
            if last is not None:
                write_outcome(self.ledger, report=self.report)
            self._start(1 if last is None else last["round"] + 1, left)

    def _start(self, number: int, left: int) -> None:
        """Draw and choose the crystals of a round, and keep them."""
        self._take_generator(number - 1)
        settings = self.planner.settings
        count = min(settings.batch, left)
        plan = self.planner.plan(number, count, self.model, self.ledger, self._folder(number))
        self.ledger.add_round(
            number, plan.facts, plan.crystals, plan.verdicts, plan.scores, plan.predicted,
            plan.chosen,
        )  # fmt: skip
        self.say(plan.line(number))
        if 0 < len(plan.chosen) < count:
            self.say(f"round {number}: no more than these are new and within the caps")

    def _take_generator(self, last: int) -> None:
        """Load the newest generator, after it has learned from what was found if it is time."""
        self._load()
        settings = self.planner.settings.fine_tune
        if settings is not None and last and last % settings.every == 0:
            self._learn(last)
            self._load()

    def _load(self) -> None:
        """Load the generator that was accepted last, unless it is there."""
        accepted = [
            one["learning"]["checkpoint"]
            for one in self.ledger.rounds()
            if one.get("learning", {}).get("accepted")
        ]
        if accepted and (path := self.ledger.folder / accepted[-1]) != self.model.path:
            device = choose_device(self.planner.settings.device)
            self.model = load_checkpoint(path, device, self.trusted)

    def _learn(self, number: int) -> None:
        """Train the generator on what was found up to a round, unless that is done."""
        from pyg_crysdiff.design.learning import fine_tune  # noqa: PLC0415  (imports Lightning)

        (last,) = [one for one in self.ledger.rounds() if one["round"] == number]
        if "learning" in last:
            return
        run = self.planner
        names = [objective.name for objective in run.objectives]
        found, _ = evaluated(self.ledger, names, relaxed=True)
        watch = Watch()
        with watch("learn"):
            learned = fine_tune(
                self.model.path,
                run.data,
                found,
                run.objectives,
                settings=run.settings.fine_tune,
                first=self.first,
                seed=crystal_seed(run.settings.seed, number, "design learning"),
                out=self._folder(number) / "model",
                device=run.settings.device,
                precision=run.settings.precision,
                trusted=self.trusted,
                progress=self.progress,
            )
        facts: dict[str, Any] = {**learned.facts, "accepted": learned.accepted}
        if learned.accepted:
            facts["checkpoint"] = relative_path(learned.checkpoint, self.ledger.folder)
        seconds = {**last.get("seconds", {}), **watch.seconds}
        self.ledger.close_round(number, {"learning": facts, "seconds": seconds})
        what = "better, used from now on" if learned.accepted else "the generator stays as it was"
        reason = f" ({facts['problem']})" if facts.get("problem") else ""
        self.say(f"round {number}: learned from {len(found)} crystals: {what}{reason}")

    def _folder(self, number: int) -> Path:
        return self.ledger.folder / "rounds" / f"{number:04d}"


def relative_path(path: Path, folder: Path) -> str:
    """Return a path below a folder as seen from there, so that the folder can be moved."""
    return path.resolve().relative_to(folder.resolve()).as_posix()
