"""Random inputs of the attention over pairs, and its outcome with all gradients."""

import torch

from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_plain import AttentionInputs


def example(generator, sizes, heads=2, d=6, c=5, waves=4, dtype=torch.float32):
    """Layout, inputs, and a gradient by the outcome, for crystals of these sizes."""
    layout = PairLayout.build(torch.tensor(sizes, dtype=torch.long))
    atoms, pairs = sum(sizes), sum(n * (n - 1) // 2 for n in sizes)
    width = 2 * heads * c

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    inputs = AttentionInputs(
        query=(draw(atoms, heads * d) / d**0.5).to(dtype),
        key=draw(atoms, d).to(dtype),
        sines=draw(pairs, waves),
        cosines=draw(pairs, waves),
        by_sines=draw(waves, width) / waves**0.5,
        by_cosines=draw(waves, width) / waves**0.5,
        common=draw(len(sizes), width),
        own=draw(len(sizes), width),
        alpha_weight=draw(heads, c),
    )
    return layout, inputs, draw(atoms, heads * (d + c)).to(dtype)


def double(inputs):
    """The same in float64."""
    return AttentionInputs(*(x.double() for x in inputs))


def outcome(form, layout, inputs, wanted):
    """The outcome of a form, and the gradients by all inputs."""
    leaves = AttentionInputs(*(x.clone().requires_grad_() for x in inputs))
    out = form(leaves, layout)
    return [out, *torch.autograd.grad(out, leaves, wanted)]
