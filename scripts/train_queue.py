"""Train the models of a list one after the other; started again, the queue goes on where it was.

    python scripts/train_queue.py jobs.tsv --data DATA --cores 1
    python scripts/train_queue.py jobs.tsv --status
    python scripts/train_queue.py jobs.tsv --data DATA --device cuda --batch-times 4 --minutes 8 \
        --out exported

A line of the list is a job: its name, a tab, and the arguments of `crysdiff train` as the shell
takes them, quotes included. Lines that begin with # are left out:

    # name	crysdiff train arguments
    perov5-cds	data=perov5 conditioner=cds budget_minutes=180 keep_every=50

Every job has a folder of its own in --runs, with its log beside it. A job that is finished is not
repeated; one whose length in the list has grown goes on. With --minutes the call leaves off in
time, start and export included, unless a single epoch takes longer; the same call goes on then. So
one script serves a core of one's own for days and a GPU that is lent for some minutes: --from
brings the runs of another folder along. The files of the data sets lie in --data, and nothing is
downloaded then.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyg_crysdiff.configuration import compose_config
from pyg_crysdiff.storage import file_name, read_record, whole, whole_lines

_RESERVE = 0.5  # minutes of a call for imports and the export
_LEAST = 0.1  # minutes for which no training is begun
_COLUMNS = ("job", "state", "epochs", "crystals seen", "minutes", "training loss", "validation")


@dataclass(frozen=True)
class Job:
    """A line of the list.

    Attributes:
        name: Name of its folder.
        words: Arguments of ``crysdiff train``.
        config: The configuration that they make.
    """

    name: str
    words: tuple[str, ...]
    config: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a job is, from the files of its run; numbers that are not known are NaN.

    Attributes:
        epochs: Finished epochs.
        crystals: Crystals seen in training, each as often as it was.
        seconds: Time of the training.
        loss: Last training loss.
        validation: Last validation loss.
        finished: Whether the run has the length of the list.
    """

    epochs: int = 0
    crystals: float = 0.0
    seconds: float = 0.0
    loss: float = math.nan
    validation: float = math.nan
    finished: bool = False


def main(words: Sequence[str] | None = None) -> int:
    """Train, or tell how far the jobs are; returns the exit status."""
    start = time.monotonic()
    args = parse(words)
    jobs = read_jobs(args.jobs)
    if args.status:
        print(table(jobs, args.runs))
        return 0
    if args.cores:
        pin(args.cores)
    failed = []
    for job in jobs:
        bring(job, args)
        if progress(job, args.runs).finished:
            if not export(job, args):
                failed.append(job.name)
            continue
        passed = (time.monotonic() - start) / 60
        left = math.inf if args.minutes is None else args.minutes - passed - _RESERVE
        if left < _LEAST:
            break
        if not run(job, args, left):
            failed.append(job.name)
    print(table(jobs, args.runs))
    return int(bool(failed))


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("jobs", type=Path, help="list of jobs")
    add("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    add("--from", dest="origin", type=Path, metavar="DIR", help="runs to go on from, copied first")
    add("--out", type=Path, help="folder for exported checkpoints, NAME.safetensors")
    add("--data", type=Path, help="folder with the files of the data sets (data.source)")
    add("--minutes", type=float, help="wall time of this call; without it, until all is done")
    add("--device", help="device of all jobs, e.g. cuda")
    add(
        "--batch-times", type=float, default=1.0, metavar="F",
        help="runs that begin: F times the batch size, with sqrt(F) times the learning rate",
    )  # fmt: skip
    add("--cores", type=cores, help="processor cores to use, e.g. 1 or 0,2-3 (Linux)")
    add("--status", action="store_true", help="tell how far the jobs are")
    return parser.parse_args(words)


def cores(text: str) -> set[int]:
    """Read ``0,2-3`` as {0, 2, 3}."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def pin(chosen: set[int]) -> None:
    """Keep this process, and those that it starts, to some cores.

    Raises:
        SystemExit: If the system cannot, or has no such core.
    """
    try:
        os.sched_setaffinity(0, chosen)
    except (AttributeError, OSError) as error:
        raise SystemExit(f"--cores {sorted(chosen)}: not possible here ({error})") from error
    os.environ["OMP_NUM_THREADS"] = str(len(chosen))


def read_jobs(path: Path) -> list[Job]:
    """Read a list of jobs.

    Raises:
        SystemExit: If a line is no job; the message has its number.
    """
    jobs: dict[str, Job] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, rest = line.partition("\t")
        try:
            if not tab or not rest.strip():
                raise ValueError("a job is NAME, a tab, and arguments of crysdiff train")
            if name in jobs or file_name(name) != name:
                raise ValueError(f"the name {name!r} is taken, or cannot name a folder")
            words = tuple(shlex.split(rest))
            settings = [w for w in words if "=" in w and not w.startswith("-")]
            jobs[name] = Job(name, words, compose_config(settings))
        except ValueError as error:
            raise SystemExit(f"{path}, line {number}: {error}") from error
    return list(jobs.values())


def progress(job: Job, runs: Path) -> Progress:
    """Read how far a job is."""
    folder = runs / job.name
    rows = list(csv.DictReader(whole_lines(folder / "metrics.csv")))

    def last(column: str, otherwise: float = math.nan) -> float:
        values = [row[column] for row in rows if row.get(column)]
        return float(values[-1]) if values else otherwise

    return Progress(
        epochs=int(last("epoch", -1)) + 1,
        crystals=last("crystals_seen", math.nan if rows else 0.0),
        seconds=last("seconds", math.nan if rows else 0.0),
        loss=last("train/total"),
        validation=last("val/total"),
        finished=_finished(folder, job),
    )


def _finished(folder: Path, job: Job) -> bool:
    note = whole(folder / "finished.json", read_record) or {}
    return all(note.get(key, "") == job.config[key] for key in ("max_epochs", "budget_minutes"))


def run(job: Job, args: argparse.Namespace, minutes: float) -> bool:
    """Train a job for some minutes, export what it has become, and say how fast it was."""
    folder = args.runs / job.name
    before = progress(job, args.runs)
    words = ["train", *job.words, *settings(job, folder, args), "--out", str(folder)]
    if math.isfinite(minutes):
        words += ["--stop-after", f"{minutes:.3f}"]
    print(f"{job.name}: from epoch {before.epochs}", flush=True)
    if not crysdiff(words, log := args.runs / f"{job.name}.log"):
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        print(f"{job.name}: failed, see {log}\n{tail}", file=sys.stderr, flush=True)
        return False
    after = progress(job, args.runs)
    speed = (after.crystals - before.crystals) / max(after.seconds - before.seconds, 1e-9)
    print(
        f"{job.name}: epoch {after.epochs}, {speed:,.0f} structures/s, loss {after.loss:.4f}, "
        f"validation {after.validation:.4f}{'' if after.finished else ', goes on'}",
        flush=True,
    )
    return export(job, args)


def settings(job: Job, folder: Path, args: argparse.Namespace) -> list[str]:
    """Return what this machine adds to a job's settings; a run keeps those that it began with."""
    out = [] if args.device is None else [f"device={args.device}"]
    if args.data is not None and "source" in job.config["data"]:
        out.append(f"data.source={args.data.resolve()}")
    batch, rate = job.config["batch_size"], job.config["optimizer"]["lr"]
    if (folder / "config.json").is_file():
        config = read_record(folder / "config.json")
        now = config["batch_size"], config["optimizer"]["lr"]
    else:
        now = round(batch * args.batch_times), rate * math.sqrt(args.batch_times)
    if now != (batch, rate):
        out += [f"batch_size={now[0]}", f"optimizer.lr={now[1]:.6g}"]
    return out


def bring(job: Job, args: argparse.Namespace) -> None:
    """Copy the run of a job from another folder, if there is none yet."""
    target = args.runs / job.name
    args.runs.mkdir(parents=True, exist_ok=True)
    if args.origin is not None and (args.origin / job.name).is_dir() and not target.exists():
        # The checkpoint before the last one is large, and made again.
        ignored = shutil.ignore_patterns("previous.ckpt", ".lock*", ".writer*")
        shutil.copytree(args.origin / job.name, target, ignore=ignored)


def export(job: Job, args: argparse.Namespace) -> bool:
    """Write the checkpoint of a job to share, if that is asked for and there is a newer one."""
    last = args.runs / job.name / "last.ckpt"
    if args.out is None or not last.is_file():
        return True
    path = args.out / f"{job.name}.safetensors"
    if path.is_file() and path.stat().st_mtime >= last.stat().st_mtime:
        return True
    trust = [word for pair in pairwise(job.words) if pair[0] == "--trust" for word in pair]
    words = ["export", str(last), "--out", str(path), *trust]
    return crysdiff(words, args.runs / f"{job.name}.log")


def crysdiff(words: Sequence[str], log: Path) -> bool:
    """Run a command of the package, with its output in a log, and return whether it succeeded."""
    with log.open("a", encoding="utf-8") as handle:
        done = subprocess.run(
            [sys.executable, "-m", "pyg_crysdiff", *words],
            stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    return done.returncode == 0


def table(jobs: Sequence[Job], runs: Path) -> str:
    """Return how far the jobs are, a line each."""
    rows = [_COLUMNS, *(_row(job.name, progress(job, runs)) for job in jobs)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_COLUMNS))]
    lines = [
        [name.ljust(widths[0]), state.ljust(widths[1])]
        + [cell.rjust(width) for cell, width in zip(numbers, widths[2:], strict=True)]
        for name, state, *numbers in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(name: str, now: Progress) -> tuple[str, ...]:
    state = "finished" if now.finished else "begun" if now.epochs else "waits"
    numbers = (
        (now.epochs, ",d"), (now.crystals, ",.0f"), (now.seconds / 60, ",.1f"), (now.loss, ".4f"),
        (now.validation, ".4f"),
    )  # fmt: skip
    return name, state, *(_number(value, form) for value, form in numbers)


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


if __name__ == "__main__":
    sys.exit(main())
