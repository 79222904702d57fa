"""Crystals for oracles, and a program of a user's."""

import numpy as np

from pyg_crysdiff.data.crystal import Crystal


def pair(number, edge=3.0, shift=0.5, **info) -> Crystal:
    """Two atoms of an element, in a body-centred cell."""
    cell = np.diag([edge, edge * 1.1, edge * 1.2])
    return Crystal(cell, [[0, 0, 0], [shift, shift, shift]], [number, number], info)


NOBLE = {"a": 3, "he": 2, "ne": 10, "ar": 18, "kr": 36, "xe": 54, "b": 11}


def noble() -> dict[str, Crystal]:
    return {key: pair(number) for key, number in NOBLE.items()}


PROGRAM = """
import json, sys, time
text = open(sys.argv[-1]).read()
print("read", len(text))
if "He" in text:
    print("a line\\nno convergence", file=sys.stderr); sys.exit(3)
if "Ne" in text:
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    open("child", "w").write(str(child.pid)); time.sleep(100)
if "Ar" in text:
    import os; os.abort()
if "Kr" in text:
    open("relaxed.cif", "w").write(text)
print({"Xe": "nothing", "Na": "1.25"}.get(text.split("data_")[1][:2], json.dumps({"gap": 1.5})))
"""
