"""Count the arithmetic of matrix products, including those inside the C kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from torch.utils.flop_counter import FlopCounterMode

from pyg_crysdiff.nn import pair_attention
from pyg_crysdiff.nn.pair_plain import AttentionInputs


def matrix_operations(call: Callable[[], Any]) -> int:
    """Count the multiplications and additions of all matrix products of one call.

    PyTorch's counter does not see the kernel of the pair attention, whose two products over pairs
    are added: once in a forward pass and once, for the gradients of their weights, in a backward
    pass. What the kernel computes a second time instead of keeping it is not counted, nor is the
    attention itself.
    """
    inside = 0
    kernel = pair_attention._call

    def counted(direction: str, layout: Any, inputs: AttentionInputs, arguments: Any) -> None:
        nonlocal inside
        inside += 2 * 2 * inputs.sines.numel() * inputs.by_sines.size(1)
        kernel(direction, layout, inputs, arguments)

    with patch.object(pair_attention, "_call", counted), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() + inside
