"""Commands that are killed at random moments and run again.

Importing takes most of a command's time. A server process imports once, then runs each command in
a forked child of its own, as the command line would; killing a child costs nothing but its run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLS = int(os.environ.get("CRYSDIFF_KILLS", "3"))

_SERVER = r"""
import importlib, json, os, runpy, signal, sys, time, traceback

for name in ("cli", "training", "training.run", "sampling", "evaluation.harness",
             "evaluation.property_training", "data"):
    importlib.import_module("pyg_crysdiff." + name)
import pymatgen.io.cif, lightning.pytorch.loggers, hydra.core.global_hydra

def work(words):
    sys.argv = list(words)
    if words[0] != "crysdiff":  # a script
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        return runpy.run_path(words[0], run_name="__main__")
    from pyg_crysdiff.cli import main
    main(words[1:])

def child(job):
    os.setsid()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0); os.dup2(log, 1); os.dup2(log, 2)
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    code = 0
    try:
        work(job["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(code)

groups = []
for line in sys.stdin:
    job = json.loads(line)
    start = time.monotonic()
    if (pid := os.fork()) == 0:
        child(job)
    groups.append(pid)
    killed = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        passed = time.monotonic() - start
        if done:
            break
        if not killed and job["kill_after"] is not None and passed >= job["kill_after"]:
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.001)
    answer = {"code": os.waitstatus_to_exitcode(status), "seconds": passed}
    print(json.dumps(answer), file=sys.__stdout__, flush=True)
for pid in groups:  # what killed commands may have left: their workers
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status (negative: signal), duration in seconds, what it said."""

    code: int
    seconds: float
    said: str


class Commands:
    """Runs commands one after the other in children of one process; a context manager.

    Args:
        folder: Working folder of the commands, where their output is kept too.
        env: Further environment variables.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder, self.env, self.count = folder, env or {}, 0

    def __enter__(self) -> Commands:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.env}
        self.server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(60)
        assert self.server.stdout is not None
        self.server.stdout.close()

    def run(
        self,
        words: Sequence[object],
        *,
        kill_after: float | None = None,
        env: dict[str, str] | None = None,
    ) -> Ended:
        """Run ``crysdiff ...`` or ``script.py ...``; kill -9 its process after so many seconds."""
        self.count += 1
        log = self.folder / f"said-{self.count}.txt"
        job = {
            "words": [str(word) for word in words], "kill_after": kill_after, "log": str(log),
            "env": env or {}, "cwd": str(self.folder),
        }  # fmt: skip
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print(json.dumps(job), file=self.server.stdin, flush=True)
        answer = self.server.stdout.readline()
        assert answer, "the process that runs the commands broke off"
        log.touch()  # who is killed at once says nothing
        said = log.read_text(encoding="utf-8", errors="replace")
        return Ended(**json.loads(answer), said=said)


def assert_survives_kills(
    command: Callable[[Path], Sequence[object]],
    outcome: Callable[[Path], Any],
    folder: Path,
    *,
    kills: int = KILLS,
    seed: int = 0,
    env: dict[str, str] | None = None,
) -> None:
    """Kill a command at random moments; run again, it must leave what an uninterrupted one leaves.

    The moments are spread over the whole run, the first one lies near its start. Every attempt has
    an output folder and a cache folder of its own.

    Args:
        command: From the output folder to the words of the command: ``["crysdiff", ...]``, or the
            path of a script and its arguments.
        outcome: From the output folder to what is compared with ``==``.
        folder: Empty folder for everything.
        kills: Number of kills.
        seed: Seed of the moments.
        env: Further environment variables.
    """
    moments = random.Random(seed)
    with Commands(folder, env) as commands:

        def run(name: str, kill_after: float | None = None) -> Ended:
            cache = {"CRYSDIFF_CACHE": str(folder / f"cache-{name}")}
            return commands.run(command(folder / name), kill_after=kill_after, env=cache)

        whole = run("whole")
        assert whole.code == 0, whole.said
        expected = outcome(folder / "whole")
        for k in range(kills):
            moment = (k + moments.random()) / kills * whole.seconds
            where = f"killed {k} after {moment:.2f} of {whole.seconds:.2f} s"
            killed = run(f"killed-{k}", moment)
            assert killed.code in (0, -9), f"{where}: {killed.said}"
            again = run(f"killed-{k}")
            assert again.code == 0, f"{where}: {again.said}"
            assert outcome(folder / f"killed-{k}") == expected, where
