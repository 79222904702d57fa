"""The kernel in C against the plain form in PyTorch, and the rules for choosing between them."""

import itertools
import os
import shutil
import subprocess
import sys

import pytest
import torch

from pyg_crysdiff.nn import pair_attention as module
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_plain import AttentionInputs
from tests.nn.attention_example import double, example, outcome

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("cc", "gcc", "clang")), reason="no C compiler"
)
SIZES = [5, 1, 12, 2, 5, 20, 3]
WAVES = 8


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "d", "c"), [(3, 128, 64), (1, 5, 3), (2, 70, 17)])
def test_kernel_and_its_gradients_against_float64(generator, heads, d, c, dtype):
    assert module.native_agrees()
    layout, inputs, wanted = example(generator, SIZES, heads, d, c, WAVES, dtype)
    ours = outcome(module.native, layout, inputs, wanted)
    exact = outcome(module.plain, layout, double(inputs), wanted.double())
    # The kernel computes in float32; bfloat16 enters by the rounding of what it returns alone.
    tolerance = 2e-5 if dtype == torch.float32 else 2**-8
    for a, b in zip(ours, exact, strict=True):
        scale = b.abs().max().item()
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * 0.05 * scale)


@needs_compiler
def test_gradients_are_the_same_where_positions_have_none(generator):
    layout, inputs, wanted = example(generator, SIZES, 3, 32, 16, WAVES)
    every = outcome(module.native, layout, inputs, wanted)[1:]
    positions = ("sines", "cosines")
    leaves = {k: x.clone().requires_grad_(k not in positions) for k, x in inputs._asdict().items()}
    module.native(AttentionInputs(**leaves), layout).backward(wanted)
    for (name, leaf), grad in zip(leaves.items(), every, strict=True):
        assert leaf.grad is None if name in positions else leaf.grad.equal(grad)


def test_plain_form_against_loops_over_pairs(generator):
    heads, d, c = 2, 4, 3
    layout, inputs, _ = example(generator, SIZES, heads, d, c, WAVES)
    inputs = double(inputs)
    ours = module.plain(inputs, layout)
    query, key, sines, cosines, by_sines, by_cosines, common, own, alpha = inputs
    odd, even = sines @ by_sines, cosines @ by_cosines
    rows, atom, pair = [], 0, 0
    for b, n in enumerate(sorted(SIZES)):
        index = {}
        for i in range(n):
            for j in range(i + 1, n):
                index[i, j], pair = pair, pair + 1
        for i in range(n):
            u = [
                own[b]
                if i == j
                else even[index[min(i, j), max(i, j)]]
                + common[b]
                + (1 if i < j else -1) * odd[index[min(i, j), max(i, j)]]
                for j in range(n)
            ]
            hidden = torch.nn.functional.silu(torch.stack(u)).view(n, 2, heads, c)
            q, k = query[atom + i].view(heads, d), key[atom : atom + n]
            a = (q @ k.t() + torch.einsum("jhc,hc->hj", hidden[:, 0], alpha)).softmax(1)
            mixed = torch.einsum("hj,jhc->hc", a, hidden[:, 1])
            rows.append(torch.cat([(a @ k).flatten(), mixed.flatten()]))
        atom += n
    torch.testing.assert_close(ours, torch.stack(rows))


@needs_compiler
def test_kernel_gives_the_same_bits_for_any_number_of_threads_and_any_batch(generator):
    layout, inputs, wanted = example(generator, SIZES, 3, 32, 16, WAVES)
    one = outcome(module.native, layout, inputs, wanted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert len(layout.shares(3)) == 3
        three = outcome(module.native, layout, inputs, wanted)
    finally:
        torch.set_num_threads(before)
    # gradients of what all crystals share are summed in another order
    shared = ("by_sines", "by_cosines", "alpha_weight")
    for name, a, b in zip(("out", *inputs._fields), one, three, strict=True):
        if name in shared:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        else:
            assert a.equal(b)
    # the last crystal of the sorted order, alone
    n = max(SIZES)
    rows = (n, n, n * (n - 1) // 2, n * (n - 1) // 2, WAVES, WAVES, 1, 1, 3)
    alone = AttentionInputs(*(x[-count:] for x, count in zip(inputs, rows, strict=True)))
    out = module.native(alone, PairLayout.build(torch.tensor([n])))
    assert out.equal(one[0][-n:])


@needs_compiler
def test_kernel_passes_nan_on_and_survives_extreme_logits(generator):
    layout, inputs, _ = example(generator, SIZES, 2, 8, 4, WAVES)
    inputs.query[-1, 0] = torch.nan
    out = module.native(inputs, layout)
    assert out[-1, :8].isnan().all()
    assert out[: -max(SIZES)].isfinite().all()
    kept = ("key", "by_sines", "by_cosines", "alpha_weight")
    extreme = AttentionInputs(
        **{k: x if k in kept else x.nan_to_num() * 100 for k, x in inputs._asdict().items()}
    )
    ours = module.native(extreme, layout)
    exact = module.plain(double(extreme), layout)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-3)


def test_shares_cover_all_crystals_once():
    layout = PairLayout.build(torch.tensor(SIZES))
    for parts in (1, 2, 3, 50):
        bounds = layout.shares(parts)
        assert bounds[0][0] == 0
        assert bounds[-1][1] == len(SIZES)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
        assert len(bounds) <= parts
    sizes, atoms, pairs, squares = layout.table.tolist()
    assert sizes == sorted(SIZES)
    assert atoms[-1] == sum(SIZES[:5]) + SIZES[6]  # the largest comes last
    assert pairs[:4] == [0, 0, 1, 4]  # of sizes 1, 2, 3
    assert squares[:4] == [0, 1, 5, 14]


@pytest.mark.parametrize(
    "change", [{"CRYSDIFF_NATIVE": "0"}, {"CC": "nowhere", "PATH": "/nowhere"}]
)
def test_without_kernel_the_plain_form_serves(change):
    script = (
        "import torch\n"
        "from pyg_crysdiff.nn import pair_attention as m\n"
        "from pyg_crysdiff.nn.layout import PairLayout\n"
        "from pyg_crysdiff.nn.pairs import HiddenPairs\n"
        "layout = PairLayout.build(torch.tensor([2, 3]))\n"
        "hidden = HiddenPairs(*(torch.randn(n, 8) for n in (4, 4, 8, 8, 2, 2)))\n"
        "q, k, w = torch.randn(5, 6), torch.randn(5, 3), torch.randn(2, 2)\n"
        "assert m.pair_attention(q, k, hidden, w, layout).shape == (5, 10)\n"
        "print(m.native_agrees())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **change},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
