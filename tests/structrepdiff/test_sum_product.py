"""Sums over all compositions, and the kernel for them."""

from itertools import product

import pytest
import torch

from pyg_crysdiff.structrepdiff import sum_product as module
from pyg_crysdiff.structrepdiff.sum_product import draw, plain_draw, plain_sum_product, sum_product

needs_kernel = pytest.mark.skipif(module.load_library() is None, reason="no C compiler")
TOPS = (2, 0, 3)


def random_case(crystals, elements=3, counts=4, states=(7, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(elements, counts, crystals, generator=generator)
    return weights, torch.rand(*states, crystals, generator=generator)


def test_marginals_and_sum_are_those_of_all_compositions():
    weights, sums = (part.double() for part in random_case(5))
    total, marginals, together = (
        torch.zeros(5).double(),
        torch.zeros_like(weights),
        torch.zeros_like(sums),
    )
    for counts in product(*(range(top + 1) for top in TOPS)):
        atoms, kinds = sum(counts), sum(c > 0 for c in counts)
        weight = sums[atoms, kinds] * torch.stack(
            [weights[k, c] for k, c in enumerate(counts)]
        ).prod(0)
        total += weight
        together[atoms, kinds] += weight
        for k, c in enumerate(counts):
            marginals[k, c] += weight
    found = sum_product(weights, sums, TOPS)
    torch.testing.assert_close(found.counts, marginals / total)
    torch.testing.assert_close(found.sums, together / total)
    torch.testing.assert_close(found.logarithm, total.log())


@needs_kernel
@pytest.mark.parametrize("crystals", [1, 8, 13])
def test_the_kernel_finds_what_the_plain_form_finds(crystals):
    weights, sums = random_case(crystals, 30, 6, (21, 8))
    tops = [k % 6 for k in range(30)]
    for one, other in zip(
        module._by_kernel(weights, sums, tops), plain_sum_product(weights, sums, tops), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@needs_kernel
def test_crystals_in_a_batch_do_not_see_each_other():
    weights, sums = random_case(11)
    together = module._by_kernel(weights, sums, TOPS)
    for k in range(11):
        alone = module._by_kernel(weights[:, :, [k]], sums[:, :, [k]], TOPS)
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.equal(one[..., 0], all_of_them[..., k])


@needs_kernel
def test_the_kernel_takes_part_in_single_precision_only(monkeypatch):
    used = []
    kernel = module._by_kernel
    monkeypatch.setattr(module, "_by_kernel", lambda *a: used.append(1) or kernel(*a))
    monkeypatch.setattr(module, "kernel_agrees", lambda: True)
    weights, sums = random_case(3)
    sum_product(weights.double(), sums.double(), TOPS)
    assert not used
    sum_product(weights, sums, TOPS)
    assert used
    monkeypatch.setenv("CRYSDIFF_NATIVE", "0")
    sum_product(weights, sums, TOPS)
    assert len(used) == 1


@needs_kernel
@pytest.mark.parametrize("part", ["counts", "sums", "logarithm"])
def test_a_wrong_kernel_is_not_used(part, monkeypatch):
    right = module._by_kernel

    def wrong(*task):
        found = right(*task)
        return found._replace(**{part: getattr(found, part) * 1.01})

    monkeypatch.setattr(module, "_by_kernel", wrong)
    assert not module.kernel_agrees.__wrapped__()


@needs_kernel
def test_a_kernel_that_draws_otherwise_is_not_used(monkeypatch):
    right = module._draw_by_kernel
    assert module.kernel_agrees.__wrapped__()
    # The numbers of one element for those of the next.
    monkeypatch.setattr(module, "_draw_by_kernel", lambda *a: right(*a[:3], a[3].roll(1, 1)))
    assert not module.kernel_agrees.__wrapped__()


@needs_kernel
@pytest.mark.parametrize("crystals", [1, 8, 300])
def test_the_kernel_draws_what_the_plain_form_draws(crystals):
    weights, sums = random_case(crystals, 30, 6, (21, 8))
    tops = [k % 6 for k in range(30)]
    uniform = torch.rand(crystals, 31, generator=torch.Generator().manual_seed(1))
    drawn = draw(weights, sums, tops, uniform)
    assert torch.equal(drawn, plain_draw(weights, sums, tops, uniform))
    assert (drawn <= torch.tensor(tops)).all()


@pytest.mark.parametrize("form", [draw, plain_draw])
@pytest.mark.parametrize("part", [0.0, 1 - 2**-24])
def test_what_has_no_weight_is_not_drawn(form, part):
    weights, sums = random_case(5)
    weights[0, 0], weights[0, 2], weights[2, 3] = 0.0, 0.0, 0.0
    sums[:3], sums[5:] = 0.0, 0.0
    drawn = form(weights, sums, TOPS, torch.full((5, 4), part))
    assert (drawn[:, 0] == 1).all()
    assert (drawn[:, 1] == 0).all()
    assert ((drawn.sum(1) == 3) | (drawn.sum(1) == 4)).all()
    assert (drawn[:, 2] < 3).all()
