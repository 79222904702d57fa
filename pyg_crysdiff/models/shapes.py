"""The shapes of a network's weights, without memory for them and without their initial numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWN = {Tensor.normal_, nn.init.normal_, nn.init.trunc_normal_}
_SCALED = {Tensor.mul, Tensor.div, Tensor.neg, Tensor.__rpow__}


def weight_shapes(build: Callable[[], nn.Module]) -> dict[str, torch.Size] | None:
    """Return the shapes in the state dict of the network that a function builds.

    None where a part of it needs numbers while it is made.
    """
    try:
        with torch.device("meta"), _WithoutNumbers():
            network = build()
    except (RuntimeError, NotImplementedError):
        return None
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


class _WithoutNumbers(TorchFunctionMode):
    """Leaves out random numbers and their scaling, which the device ``meta`` does not hold.

    On that device these few operations would load torch's compilers, which takes longer than all
    else in the loading of a checkpoint.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **options)
        if func is torch.arange and all(isinstance(arg, int) for arg in args):
            return torch.empty(len(range(*args)), **{"dtype": torch.int64, **options})
        if func in _DRAWN:
            return args[0] if args else options["tensor"]
        if func in _SCALED and _scaled_by_numbers(*args):
            return torch.empty(args[0].shape, dtype=args[0].dtype, device=args[0].device)
        return func(*args, **options)


def _scaled_by_numbers(tensor: Any, *others: Any) -> bool:
    numbers = all(isinstance(other, int | float) for other in others)
    return numbers and isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.is_meta
