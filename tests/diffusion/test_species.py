import itertools

import pytest
import torch
from torch.nn import functional as F

from pyg_crysdiff.diffusion import UniformD3PM, sampling_times


def dense(process):
    """Q_t and their products as K x K matrices."""
    k = process.num_classes
    alpha = process.alpha_bar[1:] / process.alpha_bar[:-1]
    q = [a * torch.eye(k).double() + (1 - a) / k * torch.ones(k, k) for a in alpha]
    bar = [torch.eye(k, dtype=torch.float64)]
    for matrix in q:
        bar.append(bar[-1] @ matrix)
    return q, bar


def mixture(x_t, p0, between, bar_s, bar_t):
    """Sum of q(a_s | a_t, a_0) p0(a_0), one atom and one a_0 after the other."""
    out = torch.zeros(len(x_t), len(bar_s), dtype=torch.float64)
    for row, state in enumerate(x_t.tolist()):
        for clean in range(p0.size(1)):
            bayes = bar_s[clean] * between[:, state] / bar_t[clean, state]
            out[row] += p0[row, clean] * bayes
    return out


@pytest.mark.parametrize(("t", "s"), [(1, 0), (2, 1), (10, 9), (20, 19), (9, 5), (20, 0)])
def test_posterior_against_dense_matrices(t, s, generator):
    process = UniformD3PM(5, num_steps=20)
    q, bar = dense(process)
    p0 = torch.rand(30, 5, generator=generator, dtype=torch.float64).softmax(-1)
    x_t = torch.randint(0, 5, (30,), generator=generator)
    between = torch.eye(5, dtype=torch.float64)
    for matrix in q[s:t]:
        between = between @ matrix
    ours = process.posterior(x_t, p0, torch.full((30,), t), torch.full((30,), s))
    torch.testing.assert_close(ours, mixture(x_t, p0, between, bar[s], bar[t]))


def test_posterior_of_a_point_mass_is_the_paper_s(generator):
    process = UniformD3PM(5, num_steps=20)
    q, bar = dense(process)
    p0 = F.one_hot(torch.randint(0, 5, (30,), generator=generator), 5).double()
    x_t = torch.randint(0, 5, (30,), generator=generator)
    a_t = F.one_hot(x_t, 5).double()
    for t in (1, 2, 10, 20):
        ours = process.posterior(x_t, p0, torch.full((30,), t), torch.full((30,), t - 1))
        top = (a_t @ q[t - 1].T) * (p0 @ bar[t - 1])
        bottom = ((p0 @ bar[t]) * a_t).sum(-1, keepdim=True)
        torch.testing.assert_close(ours, top / bottom)


@pytest.mark.parametrize(("t", "s"), [(1, 0), (2, 1), (20, 19), (9, 5), (20, 0)])
def test_the_paper_s_reverse_step(t, s, generator):
    """Its eq. 8 for a network's distribution: a product with the current class, normalised."""
    process = UniformD3PM(5, num_steps=20, reverse="paper")
    q, bar = dense(process)
    between = torch.eye(5, dtype=torch.float64)
    for matrix in q[s:t]:
        between = between @ matrix
    p0 = torch.rand(30, 5, generator=generator, dtype=torch.float64).softmax(-1)
    x_t = torch.randint(0, 5, (30,), generator=generator)
    product = (F.one_hot(x_t, 5).double() @ between.T) * (p0 @ bar[s])
    times = torch.full((30,), t), torch.full((30,), s)
    ours = process.posterior(x_t, p0, *times)
    torch.testing.assert_close(ours, product / product.sum(-1, keepdim=True))
    other = UniformD3PM(5, num_steps=20).posterior(x_t, p0, *times)
    assert t == 20 or not torch.allclose(ours, other, atol=1e-2)  # at T nothing is known of a_0


def test_unknown_reverse_step():
    with pytest.raises(ValueError, match=r"'product' of the species.*mixture.*paper"):
        UniformD3PM(5, reverse="product")


def test_loss_is_the_kl_divergence_and_nll_at_one(generator):
    process = UniformD3PM(5, num_steps=20)
    x0 = torch.randint(0, 5, (40,), generator=generator)
    logits = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    t = torch.full((40,), 8)
    noise = torch.rand(40, 1, generator=generator)
    x_t = process.corrupt(x0, t, noise)
    true = process.posterior(x_t, F.one_hot(x0, 5).double(), t, t - 1)
    model = process.posterior(x_t, logits.softmax(-1), t, t - 1)
    kl = F.kl_div(model.log(), true, reduction="none").sum(-1)
    torch.testing.assert_close(process.loss(logits, x0, x_t, t, noise), kl)
    one = torch.ones(40, dtype=torch.long)
    x_1 = process.corrupt(x0, one, noise)
    nll = -process.posterior(x_1, logits.softmax(-1), one, one - 1).log()
    torch.testing.assert_close(
        process.loss(logits, x0, x_1, one, noise), nll.gather(1, x0[:, None])[:, 0]
    )


def test_auxiliary_weight_adds_the_cross_entropy(generator):
    x0 = torch.randint(0, 3, (10,), generator=generator)
    logits = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    t, noise = torch.full((10,), 4), torch.rand(10, 1, generator=generator)
    plain, more = UniformD3PM(3, 10), UniformD3PM(3, 10, auxiliary_weight=0.5)
    difference = more.loss(logits, x0, x0, t, noise) - plain.loss(logits, x0, x0, t, noise)
    torch.testing.assert_close(difference, 0.5 * F.cross_entropy(logits, x0, reduction="none"))


def test_corruption_frequencies_follow_the_closed_form(generator):
    process = UniformD3PM(4, num_steps=20)
    _, bar = dense(process)
    x0 = torch.full((100_000,), 2)
    for t in (3, 12, 20):
        noise = torch.rand(100_000, 1, generator=generator, dtype=torch.float64)
        x_t = process.corrupt(x0, torch.full_like(x0, t), noise)
        frequency = torch.bincount(x_t, minlength=4) / len(x_t)
        torch.testing.assert_close(frequency.double(), bar[t][2], atol=0.006, rtol=0)


@pytest.mark.parametrize("steps", [None, 10])
def test_sampler_with_the_exact_posterior_recovers_the_data(steps, generator):
    process = UniformD3PM(4, num_steps=100)
    _, bar = dense(process)
    data = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    n = 20_000
    x = process.prior(torch.rand(n, 1, generator=generator, dtype=torch.float64))
    for t, s in itertools.pairwise(sampling_times(100, steps)):
        p0 = data * bar[t][:4].T[x]  # p(a_0 | a_t), unnormalised
        u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
        x = process.step(x, p0.log(), torch.full((n,), t), torch.full((n,), s), u)
    frequency = (torch.bincount(x, minlength=4) / n).double()
    torch.testing.assert_close(frequency, data, atol=0.015, rtol=0)


def test_one_element_needs_no_diffusion(generator):
    process = UniformD3PM(1, num_steps=10)
    x0 = torch.zeros(5, dtype=torch.long)
    t, noise = torch.full((5,), 10), torch.rand(5, 1, generator=generator)
    logits = torch.randn(5, 1, generator=generator)
    assert process.prior(noise).eq(0).all()
    assert process.corrupt(x0, t, noise).eq(0).all()
    assert process.step(x0, logits, t, t - 1, noise).eq(0).all()
    torch.testing.assert_close(process.loss(logits, x0, x0, t, noise), torch.zeros(5))


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="num_classes"):
        UniformD3PM(0)


def test_a_class_without_probability_never_comes_out():
    process = UniformD3PM(5, 20)
    p_allowed = torch.tensor([[False, True, False, True, False]])
    logits = torch.randn(4, 5).masked_fill(~p_allowed, -torch.inf)
    t, s = torch.full((4,), 3), torch.zeros(4, dtype=torch.long)
    for u in (0.0, 1 - 2**-24, 0.5):  # the ends of what torch.rand can return
        out = process.step(torch.tensor([0, 1, 2, 4]), logits, t, s, torch.full((4, 1), u))
        assert bool(p_allowed[0, out].all())
