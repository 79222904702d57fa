"""The Triton kernels against the plain form, by the interpreter (``tests/__init__.py``)."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from pyg_crysdiff.nn import pair_attention, triton_attention, triton_kernels
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_plain import AttentionInputs, plain
from tests.nn.attention_example import double, example, outcome

SOURCE = Path(triton_kernels.__file__)


def worst(layout, inputs, wanted):
    """The largest error of the outcome and all gradients, in parts of the largest value of each."""
    exact = outcome(plain, layout, double(inputs), wanted.double())
    ours = outcome(triton_attention.attend, layout, inputs, wanted)
    errors = [
        ((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-3)).item()
        for a, b in zip(ours, exact, strict=True)
        if b.numel()
    ]
    return max(errors, default=0.0)


@pytest.mark.parametrize(("heads", "d", "c"), [(1, 5, 3), (3, 16, 8)])
def test_kernels_and_their_gradients_against_float64(generator, heads, d, c):
    given = example(generator, [4, 1, 7, 2, 4], heads, d, c)
    assert worst(*given) < 2e-5


def test_all_sizes_from_1_to_30_and_one_beyond_a_block(generator):
    given = example(generator, [*range(1, 31), 35], 1, 4, 3, 2)
    assert worst(*given) < 5e-5


def test_bfloat16_is_read_and_written_and_not_computed_with(generator):
    given = example(generator, [3, 6, 1], dtype=torch.bfloat16)
    assert worst(*given) < 2**-7


@pytest.mark.parametrize("sizes", [[], [1], [1, 1, 1]])
def test_batches_without_pairs(generator, sizes):
    layout, inputs, wanted = example(generator, sizes)
    if sizes:
        assert worst(layout, inputs, wanted) < 2e-5
    else:
        assert triton_attention.attend(inputs, layout).shape == (0, 22)


def test_a_crystal_is_the_same_alone_and_in_a_batch(generator):
    layout, inputs, wanted = example(generator, [2, 3, 5])
    together = outcome(triton_attention.attend, layout, inputs, wanted)
    rows = (5, 5, 10, 10, 4, 4, 1, 1, 2)
    alone = AttentionInputs(*(x[-count:] for x, count in zip(inputs, rows, strict=True)))
    one = outcome(triton_attention.attend, PairLayout.build(torch.tensor([5])), alone, wanted[-5:])
    own = ("out", "query", "key", "common", "own")  # of atoms and crystals; others are sums
    for name, a, b in zip(("out", *inputs._fields), together, one, strict=True):
        if name in own:
            torch.testing.assert_close(a[-len(b) :], b)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
def test_nan_is_passed_on_and_extreme_logits_are_survived(generator):
    layout, inputs, wanted = example(generator, [3, 5])
    inputs.query[-1, 0] = torch.nan
    out = triton_attention.attend(inputs, layout)
    assert out[-1, :6].isnan().all()
    assert out[:3].isfinite().all()
    extreme = inputs._replace(query=inputs.query.nan_to_num() * 1000)
    assert worst(layout, extreme, wanted) < 1e-3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("e + g[None, :] + sign[:, None] * o", "e + g[None, :] - sign[:, None] * o"),
        ("u * (1.0 - s)", "u * (1.0 + s)"),
        ("by_weight - usual", "by_weight + usual"),
        ("slope[:, None] * q + tl.exp", "slope[:, None] * q - tl.exp"),
        ("by_odd + place, x - y", "by_odd + place, x + y"),
        ("slope_back * _silu(e - o)", "slope_back * _silu(e + o)"),
    ],
)
def test_a_changed_sign_is_noticed(generator, monkeypatch, tmp_path, old, new):
    text = SOURCE.read_text()
    assert old in text
    file = tmp_path / "changed_kernels.py"
    file.write_text(text.replace(old, new))
    spec = importlib.util.spec_from_file_location("changed_kernels", file)
    changed = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "changed_kernels", changed)
    spec.loader.exec_module(changed)
    given = example(generator, [3, 2], 1, 4, 3, 2)
    assert worst(*given) < 2e-5
    monkeypatch.setattr(triton_attention, "kernels", changed)
    assert worst(*given) > 1e-3


def test_the_form_is_chosen_by_a_check_and_can_be_switched_off(monkeypatch):
    here = torch.device("cpu")
    pair_attention.triton_form.cache_clear()
    monkeypatch.setenv("CRYSDIFF_NATIVE", "0")
    assert pair_attention.triton_form(here) is None
    pair_attention.triton_form.cache_clear()
    monkeypatch.delenv("CRYSDIFF_NATIVE")
    for answer, wanted in ((True, triton_attention.attend), (False, None)):
        monkeypatch.setattr(pair_attention, "agrees", lambda *_, answer=answer: answer)
        assert pair_attention.triton_form(here) is wanted
        pair_attention.triton_form.cache_clear()

    def fail(*_):
        raise RuntimeError("no compiler for this device")

    monkeypatch.setattr(pair_attention, "agrees", fail)
    assert pair_attention.triton_form(here) is None
    pair_attention.triton_form.cache_clear()
