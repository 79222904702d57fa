"""Whole counts of atoms behind noise."""

from itertools import product
from unittest.mock import Mock

import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models import build_model
from pyg_crysdiff.structrepdiff.counts import CountPosterior
from pyg_crysdiff.training import compose_config

COUNTS = torch.tensor([[1, 0, 2], [2, 1, 0], [1, 1, 1], [0, 2, 2], [3, 0, 0], [1, 0, 2]])
OFFSET, UNIT = torch.tensor([-0.3, -0.2, -0.5]), torch.tensor([0.4, 0.5, 0.6])


def posterior():
    out = CountPosterior(3, 3, 4, 3)
    out.fit(COUNTS, OFFSET, UNIT)
    return out


def all_compositions():
    """Every composition with its prior, by the formula of the class."""
    shares = [[(COUNTS[:, k] == c).double().mean() for c in range(4)] for k in range(3)]
    rows = torch.tensor(list(product(range(4), repeat=3)))
    independent = torch.stack(
        [torch.stack([shares[k][int(c)] for k, c in enumerate(row)]).prod() for row in rows]
    )
    totals, kinds = rows.sum(1), (rows > 0).sum(1)
    weight = torch.zeros(len(rows), dtype=torch.double)
    for n, e in product(range(5), range(4)):
        wanted = ((COUNTS.sum(1) == n) & ((COUNTS > 0).sum(1) == e)).double().mean()
        at = (totals == n) & (kinds == e)
        if wanted > 0:
            weight[at] = independent[at] / independent[at].sum() * wanted
    return rows, weight


@pytest.mark.parametrize("sigma", [0.2, 0.5, 2.0])
def test_the_expected_counts_are_the_sum_over_all_compositions(sigma):
    found = posterior()
    rows, prior = all_compositions()
    alpha = (1 - min(sigma, 0.9) ** 2) ** 0.5
    generator = torch.Generator().manual_seed(0)
    clean = OFFSET + UNIT * COUNTS
    x = alpha * clean + sigma * torch.randn(clean.shape, generator=generator)
    got = found(x, torch.full((6, 1), alpha), torch.full((6, 1), sigma))
    levels = (OFFSET + UNIT * rows).double()
    likelihood = (-0.5 * ((x.double().unsqueeze(1) - alpha * levels) / sigma).square().sum(2)).exp()
    weight = likelihood * prior
    wanted = (weight / weight.sum(1, keepdim=True)) @ levels
    torch.testing.assert_close(got.double(), wanted, atol=1e-4, rtol=0)


def test_without_a_signal_numbers_of_atoms_are_those_of_the_training_set():
    found = posterior()
    rows, prior = all_compositions()
    got = found(
        torch.tensor([[0.3, -1.0, 2.0], [0.0, 1.0, 0.5]]), torch.zeros(2, 1), torch.ones(2, 1)
    )
    wanted = (prior @ (OFFSET + UNIT * rows).double()).expand(2, -1)
    torch.testing.assert_close(got.double(), wanted, atol=1e-6, rtol=0)


def test_nearly_clean_counts_come_back_and_impossible_ones_are_mended():
    found = posterior()
    still = torch.full((6, 1), 0.02)
    got = found(OFFSET + UNIT * COUNTS, torch.ones(6, 1), still)
    torch.testing.assert_close(got, OFFSET + UNIT * COUNTS, atol=1e-3, rtol=0)
    x = OFFSET + UNIT * torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0], [3.0, 2.0, 2.0]])
    mended = (found(x, torch.ones(3, 1), still[:3]) - OFFSET) / UNIT
    totals = mended.sum(1)
    assert torch.isfinite(mended).all()
    assert all(2.99 <= n <= 4.01 for n in totals.tolist())


@pytest.mark.parametrize("announced", [(2, 4, 3), (3, 3, 3), (3, 4, 2)])
def test_more_than_announced_is_refused(announced):
    text = "counts up to 3 of an element, 4 atoms and 3 elements of a crystal are more than"
    with pytest.raises(ValueError, match=text):
        CountPosterior(3, *announced).fit(COUNTS, OFFSET, UNIT)


def test_weights_of_before_know_the_sum_alone():
    found, before = posterior(), dict(posterior().state_dict())
    before["sums"] = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.7])
    found.load_state_dict(before)
    assert found.sums.shape == (5, 4)
    x = OFFSET + UNIT * torch.tensor([[1.0, 0.4, 1.6], [0.2, 0.0, 0.0]])
    got = found(x, torch.ones(2, 1), torch.full((2, 1), 0.5))
    rows = torch.tensor(list(product(range(4), repeat=3)))
    levels = (OFFSET + UNIT * rows).double()
    prior = found.prior.double()[torch.arange(3), rows].prod(1)
    prior = prior * torch.tensor([*before["sums"], *[0.0] * 5]).double()[rows.sum(1)]
    weight = prior * (-2 * (x.double().unsqueeze(1) - levels).square().sum(2)).exp()
    wanted = (weight / weight.sum(1, keepdim=True)) @ levels
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path))
    train = load_dataset("demo", "train")
    config = compose_config(["family=structrepdiff-mlp", "mlp.dim=32", "mlp.num_blocks=1"])
    out = build_model(config, DataStatistics.from_dataset(train))
    out.prepare(train, train[:1], progress=False)
    return out, train


@pytest.mark.parametrize("predict", ["noise", "velocity"])
def test_an_untrained_network_leaves_what_the_counts_say(model, predict):
    model, train = model
    model.predict = predict
    batch = Batch.from_data_list([train[k] for k in range(8)])
    clean = model.basis(model.standardise(model.representation(batch)))
    t = torch.full((8,), 200)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = model.process.corrupt(clean, t, noise)
    prediction = model._bounded(x, t, model._denoised(x, t, None, model._expected(x, t)))
    a = float(model.process.alpha_bar[200])
    estimate = (x - (1 - a) ** 0.5 * prediction) / a**0.5
    expected = model.counts(
        x[:, model._composition], torch.full((8, 1), a**0.5), torch.full((8, 1), (1 - a) ** 0.5)
    )
    torch.testing.assert_close(estimate[:, model._composition], expected, atol=1e-3, rtol=0)


def test_formulas_come_back_and_the_sum_of_counts_is_the_number_of_atoms(model):
    model, train = model
    batch = Batch.from_data_list([train[k] for k in range(20)])
    coordinates = model.basis(model.standardise(model.representation(batch)))
    state = type("State", (), {"values": coordinates})
    parts = model.representation.parts(model.values(state))
    torch.testing.assert_close(parts.num_atoms, batch.num_atoms.float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(parts.composition.sum(1), torch.ones(20), atol=1e-5, rtol=0)
    for frame, data in zip(model.frames(parts), batch.to_data_list(), strict=True):
        assert sorted(frame.atomic_numbers) == sorted(data.atomic_numbers.tolist())


def test_counts_need_the_mlp_and_principal_components():
    statistics = DataStatistics.from_dataset(load_dataset("demo", "train"))
    for change in ("network=unet", "basis.kind=entries"):
        config = compose_config(["family=structrepdiff-mlp", change])
        with pytest.raises(ValueError, match="counts=true needs network=mlp"):
            build_model(config, statistics)


def test_guidance_asks_for_the_counts_once(model, monkeypatch):
    model, train = model
    batch = Batch.from_data_list([train[k] for k in range(4)])
    x, t = model.basis(model.standardise(model.representation(batch))), torch.full((4,), 200)
    condition = {name: torch.zeros(4) for name in model.properties}
    alone = [model._denoised(x, t, c, model._expected(x, t)) for c in (None, condition)]
    forward = Mock(wraps=model.counts.forward)
    monkeypatch.setattr(model.counts, "forward", forward)
    guided = model._predict(x, t, condition, 2.0)
    assert forward.call_count == 1
    wanted = model._bounded(x, t, torch.lerp(*alone, 2.0))
    torch.testing.assert_close(guided, wanted, atol=1e-5, rtol=0)
