"""Warnings of other libraries: silent by name in commands, untouched by an import."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest

from pyg_crysdiff.foreign_warnings import silence_foreign_warnings

IMPORT = """
import warnings
before = list(warnings.filters)
import pyg_crysdiff.cli.command
assert warnings.filters == before
"""

# A cell on the edge of the tolerance, at which spglib gives up an attempt.
SPGLIB = """
import numpy as np, spglib
from pyg_crysdiff.foreign_warnings import silence_foreign_warnings
silence_foreign_warnings()
random = np.random.default_rng(3223)
places = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]] + random.normal(0, 0.015, (4, 3))
lattice = 4 * np.eye(3) + random.normal(0, 0.05, (3, 3))
spglib.get_symmetry_dataset((lattice, places, [1] * 4), symprec=0.1)
"""


def test_only_the_named_warnings_are_silent(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setenv("SPGLIB_WARNING", "OFF")  # which the call would set for good
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_foreign_warnings()
        for kind in (DeprecationWarning, FutureWarning):  # torch 2.13, and from 2.14 on
            warnings.warn("`torch.jit.script` is deprecated. Use another", kind, stacklevel=2)
        warnings.warn("No Pauling electronegativity for He", UserWarning, stacklevel=2)
        warnings.warn("the disk is on fire", UserWarning, stacklevel=2)
    assert [str(w.message) for w in caught] == ["the disk is on fire"]


def test_who_asks_for_warnings_gets_them(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings():
        before = list(warnings.filters)
        silence_foreign_warnings()
        assert warnings.filters == before


def test_an_import_changes_no_filter():
    subprocess.run([sys.executable, "-c", IMPORT], check=True)


@pytest.mark.parametrize("wanted", [False, True])
def test_failed_attempts_of_spglib_are_told_to_those_who_ask(wanted):
    environment = {k: v for k, v in os.environ.items() if k != "SPGLIB_WARNING"}
    if wanted:
        environment["SPGLIB_WARNING"] = "ON"
    command = [sys.executable, "-c", SPGLIB]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    if wanted and not done.stderr:
        pytest.skip("this version of spglib says nothing here")
    assert ("spglib" in done.stderr) == wanted
