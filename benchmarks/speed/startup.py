"""How long the commands take until they begin their work, beside what importing torch costs.

Each measurement is a fresh process. The numbers are seconds of processor time (user and system),
which other programs on the machine disturb less than the clock. Run it on one core::

    taskset -c 0 python benchmarks/speed/startup.py

``sample`` ends at the first call of a network, ``evaluate`` where the first crystal is described.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_STOP = """
import os, sys
def stop(*_, **__):
    spent = os.times()
    print(spent.user + spent.system, flush=True)
    os._exit(0)
"""
_AT_NETWORK = """
import torch
torch.nn.modules.module.register_module_forward_pre_hook(stop)
"""
_AT_CRYSTAL = """
import pyg_crysdiff.evaluation.table as table
table.structural_problem = stop
"""
_COMMAND = """
from pyg_crysdiff.cli import main
main(sys.argv[1:])
"""
_CUBE = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nFe 0 0 0\n'


def measure(code: str, arguments: Sequence[str], repeats: int) -> float:
    """Return the median processor time (s) that fresh processes need until ``stop`` is called."""
    command = [sys.executable, "-c", _STOP + code, *arguments]
    # The last line: commands print too.
    found = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        for _ in range(repeats + 1)
    ]
    return statistics.median(float(seconds) for seconds in found[1:])  # the first warms the disk


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--checkpoint", default="perov5-cds")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cube, out = Path(folder, "cube.extxyz"), Path(folder, "out")
        cube.write_text(_CUBE, encoding="utf-8")
        sample = ["sample", "--checkpoint", args.checkpoint, "-n", "1", "--out", str(out)]
        evaluate = ["evaluate", str(cube), "--reference", str(cube), "--out", str(out)]
        for label, code, arguments in (
            ("import torch", "import torch; stop()", []),
            ("import pyg_crysdiff", "import pyg_crysdiff; stop()", []),
            ("crysdiff sample, first network call", _AT_NETWORK + _COMMAND, sample),
            ("crysdiff evaluate, first crystal", _AT_CRYSTAL + _COMMAND, evaluate),
        ):
            print(f"{label:<40}{measure(code, arguments, args.repeats):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
