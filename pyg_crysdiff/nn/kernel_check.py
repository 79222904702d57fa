"""Whether a kernel of the attention over pairs does what the plain form does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_plain import AttentionInputs, plain

Form = Callable[[AttentionInputs, PairLayout], Tensor]
_SIZES = [1, 5, 3, 5, 40]
_HEADS, _FEATURES, _CHANNELS, _WAVES = 2, 24, 19, 7
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 4e-2}


def agrees(form: Form, device: torch.device) -> bool:
    """Whether a form reproduces the plain one and its gradients on an example, in both formats.

    Args:
        form: Computes :func:`pyg_crysdiff.nn.pair_attention.pair_attention`, in float32 whatever
            it reads.
        device: Where it runs.
    """
    layout, given, wanted = _example(device)
    for dtype, tolerance in _TOLERANCES.items():
        in_format = given._replace(query=given.query.to(dtype), key=given.key.to(dtype))
        found = _outcome(form, in_format, layout, wanted.to(dtype))
        as_read = AttentionInputs(*(x.float() for x in in_format))
        exact = _outcome(plain, as_read, layout, wanted.to(dtype).float())
        for ours, reference in zip(found, exact, strict=True):
            scale = reference.abs().amax().clamp(min=1.0)
            if not bool(((ours.float() - reference).abs() <= tolerance * scale).all()):
                return False
    return True


def _example(device: torch.device) -> tuple[PairLayout, AttentionInputs, Tensor]:
    """Return crystals of several sizes with random numbers, and a gradient by the outcome."""
    generator = torch.Generator().manual_seed(0)
    atoms, pairs = sum(_SIZES), sum(n * (n - 1) // 2 for n in _SIZES)
    width = 2 * _HEADS * _CHANNELS

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    inputs = AttentionInputs(
        query=draw(atoms, _HEADS * _FEATURES),
        key=draw(atoms, _FEATURES),
        sines=draw(pairs, _WAVES),
        cosines=draw(pairs, _WAVES),
        by_sines=draw(_WAVES, width),
        by_cosines=draw(_WAVES, width),
        common=draw(len(_SIZES), width),
        own=draw(len(_SIZES), width),
        alpha_weight=draw(_HEADS, _CHANNELS),
    )
    layout = PairLayout.build(torch.tensor(_SIZES), device)
    return layout, inputs, draw(atoms, _HEADS * (_FEATURES + _CHANNELS))


@torch.inference_mode(False)
@torch.enable_grad()
def _outcome(
    form: Form, inputs: AttentionInputs, layout: PairLayout, wanted: Tensor
) -> list[Tensor]:
    leaves = AttentionInputs(*(x.clone().requires_grad_() for x in inputs))
    with torch.autocast(wanted.device.type, enabled=False):
        out = form(leaves, layout)
        return [out, *torch.autograd.grad(out, leaves, wanted)]
