"""Warnings of other libraries: silent by name in commands, untouched by an import."""

from __future__ import annotations

import subprocess
import sys
import warnings

from pyg_crysdiff.foreign_warnings import silence_foreign_warnings

IMPORT = """
import warnings
before = list(warnings.filters)
import pyg_crysdiff.cli.command
assert warnings.filters == before
"""


def test_only_the_named_warnings_are_silent(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_foreign_warnings()
        warnings.warn(
            "`torch.jit.script` is deprecated. Use another", DeprecationWarning, stacklevel=2
        )
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
