import itertools
import math

import pytest
import torch

from pyg_crysdiff.nn import reference
from pyg_crysdiff.nn.attention import RelativeAttention
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pairs import pair_features

SIZES = [4, 2, 1, 4]


def naive_fourier(f_i, f_j, waves):
    """Eq. 14 as written: sin and cos of 2 pi m (f_j - f_i) for every axis and m."""
    angle = 2 * math.pi * torch.arange(1, waves + 1).double()[:, None] * (f_j - f_i)
    return torch.cat([angle.sin().flatten(), angle.cos().flatten()])


def all_pairs(features, layout):
    """Features of all ordered pairs, (sum of n^2, inputs), from those of i < j by eq. 14 itself."""
    pair, rows = 0, []
    zeros = torch.zeros_like(features.sines[0])
    sizes = [n for b, n in layout.groups for _ in range(b)]
    for crystal, n in enumerate(sizes):
        square = [[None] * n for _ in range(n)]
        for i in range(n):
            square[i][i] = torch.cat([zeros, torch.ones_like(zeros)])
            for j in range(i + 1, n):
                sin, cos = features.sines[pair], features.cosines[pair]
                square[i][j], square[j][i] = torch.cat([sin, cos]), torch.cat([-sin, cos])
                pair += 1
        rows += [torch.cat([x, features.crystal[crystal]]) for line in square for x in line]
    assert pair == len(features.sines)
    return torch.stack(rows)


def test_pair_features_against_eq_14(generator):
    layout = PairLayout.build(torch.tensor(SIZES))
    f = torch.rand(sum(SIZES), 3, generator=generator, dtype=torch.float64)
    crystal = torch.randn(len(SIZES), 2, generator=generator, dtype=torch.float64)
    ours = all_pairs(pair_features(layout.sort(f), crystal, layout, 3), layout)
    expected = []
    for group, owner in zip(
        layout.split_atoms(layout.sort(f)), layout.split_atoms(layout.crystal), strict=True
    ):
        for atoms, number in zip(group, owner[:, 0], strict=True):
            for f_i, f_j in itertools.product(atoms, atoms):
                expected.append(torch.cat([naive_fourier(f_i, f_j, 3), crystal[number]]))
    torch.testing.assert_close(ours, torch.stack(expected))


def test_layout_groups_sort_and_unsort(generator):
    layout = PairLayout.build(torch.tensor(SIZES))
    assert layout.groups == ((1, 1), (1, 2), (2, 4))
    x = torch.randn(sum(SIZES), 2, generator=generator)
    assert layout.unsort(layout.sort(x)).equal(x)
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES))
    assert layout.sort(owner).equal(layout.crystal)
    expected = torch.stack([part.mean(0) for part in x.split(SIZES)])
    torch.testing.assert_close(layout.crystal_mean(layout.sort(x)), expected)
    assert PairLayout.build(torch.tensor([5, 5])).order is None


def example(generator, dtype):
    torch.manual_seed(0)
    sizes = {"num_heads": 3, "head_dim": 5, "num_waves": 2, "crystal_inputs": 2, "pair_hidden": 6}
    attention = RelativeAttention(8, **sizes).to(dtype)
    z = torch.randn(sum(SIZES), 8, generator=generator, dtype=dtype)
    f = torch.rand(sum(SIZES), 3, generator=generator, dtype=dtype)
    crystal = torch.randn(len(SIZES), 2, generator=generator, dtype=dtype)
    extra = torch.randn(len(SIZES), 45, generator=generator, dtype=dtype)
    return attention, z, f, crystal, extra


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_against_the_reference(generator, dtype):
    """Products of weights, halved pair terms and packing give what the equations say."""
    attention, z, f, crystal, extra = example(generator, dtype)
    layout = PairLayout.build(torch.tensor(SIZES))
    features = pair_features(layout.sort(f), crystal, layout, 2)
    terms = attention.terms(extra, attention.weights())
    ours = layout.unsort(attention(layout.sort(z), features, layout, terms))
    each = zip(z.split(SIZES), f.split(SIZES), crystal, extra, strict=True)
    expected = torch.cat([reference.attention(attention, *parts) for parts in each])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def test_reference_against_eqs_11_to_13_pair_by_pair(generator):
    attention, z, f, crystal, extra = example(generator, torch.float64)
    n, z, f, crystal, extra = SIZES[0], z[:4], f[:4], crystal[0], extra[0]
    qkv = (z @ attention.qkv.weight.t() + extra).view(n, 3, 3, 5)
    pairs, rows = attention.pairs, []
    for i in range(n):
        heads = []
        for h in range(3):
            total, norm = 0.0, 0.0
            for j in range(n):
                inputs = torch.cat([naive_fourier(f[i], f[j], 2), crystal])
                hidden = torch.nn.functional.silu(pairs.first(inputs)).view(2, 3, 6)
                alpha = hidden[0, h] @ pairs.alpha_weight[h]
                beta = hidden[1, h] @ pairs.beta_weight[h] + pairs.beta_bias[h]
                weight = (qkv[i, 0, h] @ qkv[j, 1, h] / math.sqrt(5) + alpha).exp()
                total, norm = total + weight * (qkv[j, 2, h] + beta), norm + weight
            heads.append(total / norm)
        rows.append(attention.out(torch.cat(heads)))
    ours = reference.attention(attention, z, f, crystal, extra)
    torch.testing.assert_close(ours, torch.stack(rows), rtol=1e-12, atol=1e-12)


def test_terms_of_the_condition_added_to_all_keys_have_no_effect(generator):
    torch.manual_seed(0)
    sizes = {"num_heads": 2, "head_dim": 4, "num_waves": 1, "crystal_inputs": 2, "pair_hidden": 3}
    attention = RelativeAttention(8, **sizes)
    extra = torch.randn(5, 24, generator=generator)
    changed = extra.clone()
    changed[:, 8:16] += 1.0
    weights = attention.weights()
    first, second = (attention.terms(x, weights) for x in (extra, changed))
    assert first.to_query.equal(second.to_query)
    assert first.to_out.equal(second.to_out)
    changed[:, 16:] += 1.0
    assert not first.to_out.equal(attention.terms(changed, weights).to_out)
