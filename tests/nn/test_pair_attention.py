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

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("cc", "gcc", "clang")), reason="no C compiler"
)
SIZES = [5, 1, 12, 2, 5, 20, 3]


def example(generator, heads, d, c, dtype):
    layout = PairLayout.build(torch.tensor(SIZES))
    atoms, pairs = sum(SIZES), sum(n * n for n in SIZES)
    shapes = [(atoms, 3 * heads * d), (pairs, 2 * heads * c), (heads, c)]
    inputs = [torch.randn(s, generator=generator).to(dtype) for s in shapes]
    inputs[2] = inputs[2].float()
    wanted = [torch.randn(atoms, heads * w, generator=generator).to(dtype) for w in (d, c)]
    return layout, inputs, wanted


def outcome(function, layout, inputs, wanted):
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves, layout)
    return [*out, *torch.autograd.grad(out, leaves, wanted)]


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "d", "c"), [(3, 128, 64), (1, 5, 3), (2, 70, 17)])
def test_kernel_and_its_gradients_against_float64(generator, heads, d, c, dtype):
    assert module.native_agrees()
    layout, inputs, wanted = example(generator, heads, d, c, dtype)
    ours = outcome(module._Native.apply, layout, inputs, wanted)
    exact = outcome(
        module._plain, layout, [x.double() for x in inputs], [x.double() for x in wanted]
    )
    # The kernel computes in float32; bfloat16 enters by the rounding of what it returns alone.
    tolerance = 2e-5 if dtype == torch.float32 else 2**-8
    for a, b in zip(ours, exact, strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * 0.05 * scale)


@needs_compiler
def test_kernel_gives_the_same_bits_for_any_number_of_threads_and_any_batch(generator):
    layout, inputs, wanted = example(generator, 3, 32, 16, torch.float32)
    one = outcome(module._Native.apply, layout, inputs, wanted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert len(layout.shares(3)) == 3
        three = outcome(module._Native.apply, layout, inputs, wanted)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one[:4], three[:4], strict=True):
        assert a.equal(b)
    torch.testing.assert_close(one[4], three[4])  # summed over crystals in another order
    # the last crystal of the sorted order, alone
    n = max(SIZES)
    alone = PairLayout.build(torch.tensor([n]))
    values, mixed = module._Native.apply(inputs[0][-n:], inputs[1][-n * n :], inputs[2], alone)
    assert values.equal(one[0][-n:])
    assert mixed.equal(one[1][-n:])


@needs_compiler
def test_kernel_passes_nan_on_and_survives_extreme_logits(generator):
    layout, inputs, _ = example(generator, 2, 8, 4, torch.float32)
    inputs[0][-1, 0] = torch.nan
    values, _ = module._Native.apply(*inputs, layout)
    assert values[-1, :8].isnan().all()
    assert values[: -max(SIZES)].isfinite().all()
    extreme = [inputs[0].nan_to_num() * 100, inputs[1] * 100, inputs[2]]
    for ours, plain in zip(
        module._Native.apply(*extreme, layout), module._plain(*extreme, layout), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3)


def test_shares_cover_all_crystals_once():
    layout = PairLayout.build(torch.tensor(SIZES))
    for parts in (1, 2, 3, 50):
        bounds = layout.shares(parts)
        assert bounds[0][0] == 0
        assert bounds[-1][1] == len(SIZES)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
        assert len(bounds) <= parts
    sizes, atoms, pairs = layout.table.tolist()
    assert sizes == sorted(SIZES)
    assert atoms[-1] == sum(SIZES) - max(SIZES)
    assert pairs[-1] == sum(n * n for n in SIZES) - max(SIZES) ** 2


@pytest.mark.parametrize(
    "change", [{"CRYSDIFF_NATIVE": "0"}, {"CC": "nowhere", "PATH": "/nowhere"}]
)
def test_without_kernel_the_plain_form_serves(change):
    script = (
        "import torch\n"
        "from pyg_crysdiff.nn import pair_attention as m\n"
        "from pyg_crysdiff.nn.layout import PairLayout\n"
        "layout = PairLayout.build(torch.tensor([2, 3]))\n"
        "m.pair_attention(torch.randn(5, 12), torch.randn(13, 8), torch.randn(2, 2), layout)\n"
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
