"""benchmarks/studies: representations behind noise, and what searches make of them."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models import build_model
from pyg_crysdiff.structrepdiff.model import RepresentationState
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.training import compose_config
from tests.helpers import toy_set
from tests.structrepdiff.test_model import SMALL

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"


@pytest.fixture
def studies(monkeypatch):
    monkeypatch.syspath_prepend(STUDIES)
    return [importlib.import_module(name) for name in ("representation_noise", "denoised_search")]


@pytest.fixture(scope="module")
def model():
    data = toy_set(24)
    torch.manual_seed(0)
    made = build_model(compose_config(SMALL), DataStatistics.from_dataset(data, ["energy"])).eval()
    made.prepare(data, data[:1], progress=False)
    return made


def test_true_coordinates_are_compared_whatever_the_order_of_the_atoms(studies, model):
    noise, _ = studies
    rows = [row for row in toy_set(24) if len(set(row.atomic_numbers.tolist())) > 1][:4]
    crystals = [Crystal.from_data(row) for row in rows]
    assert any((np.diff(c.atomic_numbers) < 0).any() for c in crystals)
    values = torch.cat([model.representation(row) for row in rows])
    state = RepresentationState(model.basis(model.standardise(values)), (0, 1, 2, 3))
    frames = model.frames(model.representation.parts(model.values(state)))
    right = [
        frame.atomic_numbers.tolist() == sorted(c.atomic_numbers.tolist())
        for frame, c in zip(frames, crystals, strict=True)
    ]
    assert any(right)
    losses = noise._true_losses(model, state, crystals)
    assert np.isfinite(losses).tolist() == right
    # Coordinates that belong to other atoms of the same crystal fit worse.
    turned = [Crystal(c.lattice, c.frac_coords[::-1], c.atomic_numbers) for c in crystals]
    wrong = noise._true_losses(model, state, turned)
    assert losses[right].mean() < wrong[right].mean()
    # With other formulas there is nothing to compare.
    other = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers + 1) for c in crystals]
    assert np.isinf(noise._true_losses(model, state, other)).all()


def test_denoising_starts_on_the_way_and_a_crystal_does_not_depend_on_its_batch(studies, model):
    _, search = studies
    rows = list(toy_set(3))
    clean = model.basis(model.standardise(torch.cat([model.representation(r) for r in rows])))
    short, whole = (search.denoised(model, rows, share, 30, 5) for share in (0.07, 1.0))
    # Of 30 steps two are left: hardly any noise, which an untrained network cannot add to much.
    near = (short.values - clean).square().mean()
    assert 0 < near < 0.2 * (whole.values - clean).square().mean()
    alone = search.denoised(model, rows[1:2], 0.07, 30, 6)
    torch.testing.assert_close(alone.values, short.values[1:2], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"no step of 10 is within 0\.05"):
        search.denoised(model, rows, 0.05, 10, 5)


def test_a_search_is_named_by_its_settings(studies):
    _, study = studies
    search = Search(polish=None)
    assert study.changed(search, "") == search
    assert study.changed(Search(), "") == Search()
    wanted = replace(search, waves=3, snap=0.5, starts=("spread",))
    assert study.changed(search, "waves=3, snap=0.5,starts=[spread]") == wanted
    with pytest.raises(ValueError, match=r"bad reconstruction settings.*tolerence"):
        study.changed(search, "tolerence=1")
