"""Whole counts of atoms behind noise."""

from dataclasses import replace
from itertools import pairwise, product
from unittest.mock import Mock

import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.gaussian import GaussianDDPM
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models import build_model
from pyg_crysdiff.structrepdiff.counts import CountPosterior, Potentials
from pyg_crysdiff.structrepdiff.prediction import Parameterisation
from pyg_crysdiff.structrepdiff.whole_counts import WholeCounts
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


def noised(sigma):
    alpha = (1 - min(sigma, 0.9) ** 2) ** 0.5
    generator = torch.Generator().manual_seed(0)
    clean = OFFSET + UNIT * COUNTS
    x = alpha * clean + sigma * torch.randn(clean.shape, generator=generator)
    return clean, x, torch.full((6, 1), alpha), torch.full((6, 1), sigma)


def some_potentials(with_sums=True):
    generator = torch.Generator().manual_seed(1)
    shapes = [(6, 3, 4), (6, 5, 4)] if with_sums else [(6, 3, 4)]
    return [2 * torch.randn(shape, generator=generator) for shape in shapes]


with_and_without_sums = pytest.mark.parametrize("with_sums", [True, False])


def log_weights(x, alpha, sigma, potentials, of_sums=None):
    """Logarithm of prior, likelihood and potentials of every composition, (6, compositions)."""
    rows, prior = all_compositions()
    levels = (OFFSET + UNIT * rows).double()
    gap = (x.double().unsqueeze(1) - alpha.double().unsqueeze(2) * levels) / sigma.unsqueeze(2)
    told = sum(potentials[:, k].index_select(1, rows[:, k]) for k in range(3))
    if of_sums is not None:
        told = told + of_sums[:, rows.sum(1).clamp(max=4), (rows > 0).sum(1)]
    return prior.log() - 0.5 * gap.square().sum(2) + told


@pytest.mark.parametrize("sigma", [0.2, 0.5, 2.0])
def test_the_expected_counts_are_the_sum_over_all_compositions(sigma):
    found = posterior()
    rows, prior = all_compositions()
    _, x, alpha, noise = noised(sigma)
    got = found(x, alpha, noise)
    levels = (OFFSET + UNIT * rows).double()
    gap = (x.double().unsqueeze(1) - float(alpha[0]) * levels) / sigma
    weight = (-0.5 * gap.square().sum(2)).exp() * prior
    wanted = (weight / weight.sum(1, keepdim=True)) @ levels
    torch.testing.assert_close(got.double(), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 2.0])
@with_and_without_sums
def test_potentials_tilt_the_sum_over_all_compositions(sigma, with_sums):
    _, x, alpha, noise = noised(sigma)
    rows, _ = all_compositions()
    potentials = some_potentials(with_sums)
    got = posterior()(x, alpha, noise, Potentials(*potentials))
    weight = log_weights(x, alpha, noise, *(v.double() for v in potentials)).softmax(1)
    wanted = weight @ (OFFSET + UNIT * rows).double()
    torch.testing.assert_close(got.double(), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 2.0])
@with_and_without_sums
def test_the_loss_is_the_likelihood_of_the_true_composition_with_its_gradient(sigma, with_sums):
    clean, x, alpha, noise = noised(sigma)
    rows, _ = all_compositions()
    here = [v.requires_grad_() for v in some_potentials(with_sums)]
    got = posterior().loss(clean, x, alpha, noise, Potentials(*here))
    exact = [v.detach().double().requires_grad_() for v in here]
    likely = log_weights(x, alpha, noise, *exact).log_softmax(1)
    true = (rows.unsqueeze(0) == COUNTS.unsqueeze(1)).all(2).int().argmax(1, keepdim=True)
    wanted = -likely.gather(1, true).squeeze(1)
    torch.testing.assert_close(got.double(), wanted, atol=1e-4, rtol=1e-4)
    weights = torch.arange(1.0, 7.0)
    (got * weights).sum().backward()
    (wanted * weights).sum().backward()
    for one, other in zip(here, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, atol=1e-3, rtol=0)


def test_compositions_that_the_training_set_lacks_have_a_finite_loss():
    unseen = torch.tensor([[3, 2, 2], [0, 0, 0], [0, 0, 3]])
    x, one = OFFSET + UNIT * unseen, torch.ones(3, 1)
    potentials = torch.zeros(3, 3, 4, requires_grad=True)
    loss = posterior().loss(x, x, one, 0.1 * one, Potentials(potentials))
    assert torch.isfinite(loss).all()
    assert (loss > 10).all()


def test_what_does_not_vary_has_its_only_count():
    found = CountPosterior(2, 2, 4, 2)
    counts = torch.tensor([[2, 1], [2, 2]])
    found.fit(counts, torch.tensor([0.0, -1.5]), torch.tensor([0.0, 1.0]))
    clean, one = torch.tensor([[0.0, -0.5], [0.0, 0.5]]), torch.ones(2, 1)
    loss = found.loss(clean, clean, one, 0.1 * one, Potentials(torch.zeros(2, 2, 3)))
    torch.testing.assert_close(loss, torch.zeros(2), atol=1e-5, rtol=0)


def test_alone_each_element_decides_for_itself():
    _, x, alpha, noise = noised(0.5)
    found = posterior()
    got = found.alone(x, alpha, noise)
    levels = OFFSET.unsqueeze(1) + UNIT.unsqueeze(1) * torch.arange(4)
    gap = (x.unsqueeze(2) - float(alpha[0]) * levels) / 0.5
    weight = found.prior * (-0.5 * gap.square()).exp()
    wanted = (weight * levels).sum(2) / weight.sum(2)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


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
def model(request, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path))
    train = load_dataset("demo", "train")
    kind = f"counts={getattr(request, 'param', 'potentials+sums')}"
    config = compose_config(["family=structrepdiff-mlp", kind, "mlp.dim=32", "mlp.num_blocks=1"])
    out = build_model(config, DataStatistics.from_dataset(train))
    out.prepare(train, train[:1], progress=False)
    return out, train


all_kinds = pytest.mark.parametrize(
    "model", ["potentials+sums", "potentials", "corrected"], indirect=True
)


@all_kinds
@pytest.mark.parametrize("predict", ["noise", "velocity"])
def test_an_untrained_network_leaves_what_the_counts_say(model, predict):
    model, train = model
    model.parameterisation = replace(model.parameterisation, predict=predict)
    model.whole.parameterisation = model.parameterisation
    batch = Batch.from_data_list([train[k] for k in range(8)])
    clean = model.basis(model.standardise(model.representation(batch)))
    t = torch.full((8,), 200)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = model.process.corrupt(clean, t, noise)
    prediction = model._predict(x, t, None, 0.0)
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
        with pytest.raises(ValueError, match=r"counts=potentials\+sums needs network=mlp"):
            build_model(config, statistics)
    with pytest.raises(
        ValueError, match=r"must be potentials\+sums, potentials, corrected or false"
    ):
        build_model(compose_config(["family=structrepdiff-mlp", "counts=sums"]), statistics)


def test_counts_of_checkpoints_from_before_there_was_a_choice_are_corrected():
    statistics = DataStatistics.from_dataset(load_dataset("demo", "train"))
    config = compose_config(["family=structrepdiff-mlp", "counts=true"])
    assert build_model(config, statistics).whole.potentials is False


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ("potentials+sums", (1, 0.1, 1)),
        ("potentials", (1, 0.1, 1)),
        ("corrected", (1, 4, 1)),
        ("false", (1, 4, 1)),
    ],
)
def test_the_weight_of_the_composition_goes_with_its_loss(counts, weights):
    """Nats per crystal are more than squared errors."""
    statistics = DataStatistics.from_dataset(load_dataset("demo", "train"))
    config = compose_config(["family=structrepdiff-mlp", f"counts={counts}"])
    assert build_model(config, statistics).part_loss.weights == weights


@all_kinds
def test_the_loss_of_a_batch_is_the_mean_of_its_crystals(model):
    model, train = model
    batch = Batch.from_data_list([train[k] for k in range(9)])
    clean = model.basis(model.standardise(model.representation(batch)))
    t = torch.arange(100, 1900, 200)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = model.process.corrupt(clean, t, noise)
    for parameter in model.denoiser.out.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
    together = model.errors(clean, noise, t, None)
    alone = [model.errors(clean[[k]], noise[[k]], t[[k]], None) for k in range(9)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)
    elements = model.basis.parts[1]
    uniform = torch.rand(9, elements + 1, generator=torch.Generator().manual_seed(2))
    for given in None, uniform:
        one_by_one = [
            model._predict(x[[k]], t[[k]], None, 0.0, None if given is None else given[[k]])
            for k in range(9)
        ]
        together = model._predict(x, t, None, 0.0, given)
        torch.testing.assert_close(together, torch.cat(one_by_one), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["corrected"], indirect=True)
def test_guidance_asks_for_the_counts_once(model, monkeypatch):
    model, train = model
    batch = Batch.from_data_list([train[k] for k in range(4)])
    x, t = model.basis(model.standardise(model.representation(batch))), torch.full((4,), 200)
    condition = {name: torch.zeros(4) for name in model.properties}
    alone = [model._denoised(x, t, c, model._hints(x, t)) for c in (None, condition)]
    forward = Mock(wraps=model.counts.forward)
    monkeypatch.setattr(model.counts, "forward", forward)
    guided = model._predict(x, t, condition, 2.0)
    assert forward.call_count == 1
    wanted = model.parameterisation.noise(x, t, torch.lerp(*alone, 2.0), model.extreme)
    torch.testing.assert_close(guided, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("solver", "condition", "guidance", "drawn"),
    [
        ("ancestral", None, 2.0, True), ("ancestral", {"energy": torch.zeros(2)}, 1.0, True),
        ("ancestral", {"energy": torch.zeros(2)}, 0.0, True),
        ("ancestral", {"energy": torch.zeros(2)}, 2.0, False), ("flow", None, 1.0, False),
    ],
)  # fmt: skip
def test_compositions_are_drawn_where_there_is_one_distribution(
    model, monkeypatch, solver, condition, guidance, drawn
):
    model, _ = model
    draw, network = Mock(wraps=model.counts.draw), model._network  # it knows no property
    monkeypatch.setattr(model.counts, "draw", draw)
    monkeypatch.setattr(model, "_network", lambda x, t, _, hints: network(x, t, None, hints))
    list(model.generate([1, 1], [0, 1], Sampler(solver, 2), condition, guidance))
    assert (draw.call_count == 2) == drawn


def test_compositions_are_drawn_as_often_as_they_are_probable():
    _, x, alpha, noise = noised(0.5)
    potentials = some_potentials()
    chance = log_weights(x, alpha, noise, *(v.double() for v in potentials)).softmax(1)
    rows, _ = all_compositions()
    many, generator = 20000, torch.Generator().manual_seed(3)
    for k in range(3):
        told = Potentials(*(v[[k]].expand(many, *v.shape[1:]) for v in potentials))
        same = [part[[k]].expand(many, -1) for part in (x, alpha, noise)]
        uniform = torch.rand(many, 4, generator=generator)
        drawn = (posterior().draw(*same, told, uniform) - OFFSET) / UNIT
        places = (drawn.round().long() * torch.tensor([16, 4, 1])).sum(1)
        assert (rows[places] == drawn.round()).all()
        share = torch.bincount(places, minlength=64) / many
        error = (chance[k] * (1 - chance[k]) / many).sqrt()
        assert (share - chance[k]).abs().le(4.5 * error + 1e-4).all()


def generated(solver, number=4000):
    """Compositions that 3 steps of an untrained network make: the prior of the counts decides."""
    process = GaussianDDPM((3,), 1000)
    whole = WholeCounts(posterior(), [0, 3, 0], Parameterisation(process, margin=None), True)
    sampler, generator = Sampler(solver, 3), torch.Generator().manual_seed(0)
    x, out = torch.randn(number, 3, generator=generator), torch.zeros(number, 3 * 4)
    for time, later in pairwise(sampler.times(1000)):
        t, s = torch.full((number,), time), torch.full((number,), later)
        uniform = torch.rand(number, 4, generator=generator) if solver == "ancestral" else None
        told = whole.prediction(out, x, t, whole.hints(x, t), uniform)
        x, _ = sampler.step(process, x, told, t, s, torch.randn(x.shape, generator=generator))
    return (x - OFFSET) / UNIT


def test_few_ancestral_steps_generate_compositions_as_often_as_they_occur():
    counts = generated("ancestral")
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    _, prior = all_compositions()
    share = torch.bincount((counts.round().long() * torch.tensor([16, 4, 1])).sum(1), minlength=64)
    error = (prior * (1 - prior) / len(counts)).sqrt()
    assert (share / len(counts) - prior).abs().le(4.5 * error + 1e-3).all()
    flow = generated("flow")
    assert (flow - flow.round()).abs().mean() > 0.05  # expected compositions are too near the mean
