"""A run of design that is killed from outside, or by itself at a given step.

Arguments: checkpoint, output folder. ``KILL_AT`` is ``METHOD:COUNT:before`` or ``...:after``: the
call of a method of the ledger, before or after which the process kills itself.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyg_crysdiff.design.ledger import Ledger
from tests.design.loop_toys import SETTINGS, ToyOracle, run


def kill_at(text: str) -> None:
    """Let the process kill itself at a step."""
    name, count, when = text.split(":")
    method, left = getattr(Ledger, name), [int(count)]

    def call(self, *args):
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        method(self, *args)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Ledger, name, call)


if __name__ == "__main__":
    if "KILL_AT" in os.environ:
        kill_at(os.environ["KILL_AT"])
    oracle = ToyOracle(failing=["00002"])
    run(sys.argv[1], sys.argv[2], oracle=oracle, settings=SETTINGS)
    sys.stdout.write(f"{oracle.asked}\n")
