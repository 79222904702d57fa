"""Sums over all compositions, and the kernel for them."""

from itertools import product

import pytest
import torch

from pyg_crysdiff.structrepdiff import sum_product as module
from pyg_crysdiff.structrepdiff.sum_product import plain_sum_product, sum_product

needs_kernel = pytest.mark.skipif(module.load_library() is None, reason="no C compiler")
TOPS = (2, 0, 3)


def random_case(crystals, elements=3, counts=4, states=(7, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(elements, counts, crystals, generator=generator)
    return weights, torch.rand(states, generator=generator)


def test_marginals_and_sum_are_those_of_all_compositions():
    weights, sums = (part.double() for part in random_case(5))
    total, marginals = torch.zeros(5).double(), torch.zeros_like(weights)
    for counts in product(*(range(top + 1) for top in TOPS)):
        atoms, kinds = sum(counts), sum(c > 0 for c in counts)
        weight = sums[atoms, kinds] * torch.stack(
            [weights[k, c] for k, c in enumerate(counts)]
        ).prod(0)
        total += weight
        for k, c in enumerate(counts):
            marginals[k, c] += weight
    found, logarithm = sum_product(weights, sums, TOPS)
    torch.testing.assert_close(found, marginals / total)
    torch.testing.assert_close(logarithm, total.log())


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
    together, logarithm = module._by_kernel(weights, sums, TOPS)
    for k in range(11):
        alone, one = module._by_kernel(weights[:, :, [k]], sums, TOPS)
        assert torch.equal(alone[:, :, 0], together[:, :, k])
        assert torch.equal(one[0], logarithm[k])


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
def test_a_wrong_kernel_is_not_used(monkeypatch):
    right = module._by_kernel
    monkeypatch.setattr(module, "_by_kernel", lambda *a: (right(*a)[0] * 1.01, right(*a)[1]))
    assert not module.kernel_agrees.__wrapped__()
