"""Checkpoints that version 0.1.0 wrote load, and give the crystals that they gave then."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.sampling import Control, sample

FOLDER = Path(__file__).parent / "checkpoints"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CASES = [(file, case) for file, cases in EXPECTED.items() for case in cases]


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{f}-{c['options']}" for f, c in CASES])
def test_old_checkpoint_gives_its_crystals(file, case):
    control = Control(formulas=tuple(case["formulas"])) if case["formulas"] else None
    # That version had no presets; without options it sampled as ``paper`` does.
    options, told = case["options"] or {"sampler": "paper"}, nullcontext()
    if "steps" in options:
        told = pytest.warns(DeprecationWarning, match=r"the same is sampler=Sampler\(")
    with told:
        made = sample(
            load_checkpoint(FOLDER / file),
            len(case["crystals"]),
            seed=3,
            control=control,
            device="cpu",
            precision="32-true",
            progress=False,
            **options,
        )
    for crystal, then in zip(made, case["crystals"], strict=True):
        assert crystal.atomic_numbers.tolist() == then["atomic_numbers"]
        np.testing.assert_allclose(crystal.lattice, then["lattice"], atol=1e-3)
        if "structrepdiff" in file:  # its positions are searched for: rounding decides the path
            continue
        away = crystal.frac_coords - np.array(then["frac_coords"])
        assert np.abs(away - away.round()).max() < 1e-3
