import math

import pytest
import torch

from pyg_crysdiff.nn.attention import RelativeAttention
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pairs import pair_features

SIZES = [4, 2, 1, 4]


def naive_fourier(f_i, f_j, waves):
    """Eq. 14 as written: sin and cos of 2 pi m (f_j - f_i) for every axis and m."""
    angle = 2 * math.pi * torch.arange(1, waves + 1).double()[:, None] * (f_j - f_i)
    return torch.cat([angle.sin().flatten(), angle.cos().flatten()])


def test_pair_features_against_eq_14(generator):
    layout = PairLayout.build(torch.tensor(SIZES))
    f = torch.rand(sum(SIZES), 3, generator=generator, dtype=torch.float64)
    crystal = torch.randn(len(SIZES), 2, generator=generator, dtype=torch.float64)
    ours = layout.split_pairs(pair_features(layout.sort(f), crystal, layout, 3))
    atoms = layout.split_atoms(layout.sort(f))
    owners = layout.split_atoms(layout.crystal)
    for pairs, group, owner in zip(ours, atoms, owners, strict=True):
        b, n = group.shape[:2]
        for c in range(b):
            for i in range(n):
                for j in range(n):
                    expected = naive_fourier(group[c, i], group[c, j], 3)
                    torch.testing.assert_close(pairs[c, i, j, :-2], expected)
                    assert pairs[c, i, j, -2:].equal(crystal[owner[c, i]])


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_against_eq_11_pair_by_pair(generator, dtype):
    """Rearranged pair terms, grouping and packing against plain loops over i and j."""
    torch.manual_seed(0)
    attention = RelativeAttention(8, num_heads=3, head_dim=5, pair_inputs=10, pair_hidden=6)
    attention.to(dtype)
    layout = PairLayout.build(torch.tensor(SIZES))
    z = torch.randn(sum(SIZES), 8, generator=generator, dtype=dtype)
    num_pairs = sum(n * n for n in SIZES)
    pairs = torch.randn(num_pairs, 10, generator=generator, dtype=dtype)
    extra = torch.randn(len(SIZES), 45, generator=generator, dtype=dtype)
    ones = torch.ones_like(pairs[:, :1])
    ours = attention(z, torch.cat([pairs, ones], 1), layout, extra)

    qkv = (attention.qkv(z) + extra[layout.crystal]).view(-1, 3, 3, 5)
    alpha, beta = attention.pairs.naive(pairs)
    rows, atom, pair = [], 0, 0
    for b, n in layout.groups:
        for _ in range(b):
            for i in range(n):
                heads = []
                for h in range(3):
                    q = qkv[atom + i, 0, h]
                    logits = torch.stack(
                        [
                            q @ qkv[atom + j, 1, h] / math.sqrt(5) + alpha[pair + i * n + j, h]
                            for j in range(n)
                        ]
                    )
                    a = logits.softmax(0)
                    heads.append(
                        sum(
                            a[j] * (qkv[atom + j, 2, h] + beta[pair + i * n + j, h])
                            for j in range(n)
                        )
                    )
                rows.append(torch.cat(heads))
            atom += n
            pair += n * n
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        ours, attention.out(torch.stack(rows)), rtol=tolerance, atol=tolerance
    )
