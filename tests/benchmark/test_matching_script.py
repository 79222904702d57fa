"""benchmarks/speed/matching.py: matching against plain pymatgen."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_crystals_without_a_common_composition_are_told(monkeypatch):
    path = ROOT / "benchmarks" / "speed" / "matching.py"
    monkeypatch.syspath_prepend(str(path.parent))  # what lies beside it
    spec = importlib.util.spec_from_file_location("matching_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with pytest.raises(SystemExit, match="rms: no sample has the composition of a known crystal"):
        script.compare_sides([], "rms", 10)
