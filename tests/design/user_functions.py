"""Functions of users, good and bad; a process of its own imports them, so it costs little."""

import os
import sys
import time

import numpy as np


def sites(structures):
    """The number of sites, of one structure at a time."""
    sys.stdout.write("this goes to the standard error\n")
    return [{"sites": len(s), "volume": np.float32(s.volume)} for s in structures]


def bare(structures):
    return [np.float64(structure.volume) for structure in structures]


def moody(structures):
    """Raises at helium, hangs at neon, dies at argon, gives nonsense at krypton and xenon."""
    symbol = structures[0][0].specie.symbol
    if symbol == "He":
        raise ArithmeticError("too\nnoble")
    if symbol == "Ne":
        time.sleep(100)
    if symbol == "Ar":
        os._exit(3)
    return [{"Kr": {"other": 1.0}, "Xe": {"gap": "wide"}}.get(symbol, {"gap": 1.5})]


no_function = 3
