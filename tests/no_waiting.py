"""A device that nobody can wait for, which finds places where a GPU would be waited for.

PyTorch's ``meta`` device has shapes and no numbers. Whatever the host would have to look at (a
number, the number of rows that a mask picks, a copy to the processor) raises there. What it lets
pass is a blocking copy to the device; a dispatch mode finds those.
"""

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
_COPIES = {"_to_copy", "copy_", "to"}  # in inference mode ``to`` comes as it is


class WaitedError(AssertionError):
    """The host waits for the device."""


class _NoBlockingCopies(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.overloadpacket.__name__ in _COPIES:
            names = [argument.name for argument in func._schema.arguments]
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            source = given.get("src", given.get("self"))
            there = isinstance(source, torch.Tensor) and source.device.type == "cpu"
            if there and out.device.type == "meta" and not given.get("non_blocking"):
                raise WaitedError(f"a blocking copy of {tuple(source.shape)} to the device")
        return out


@contextmanager
def nobody_waits():
    """Raise where a step on the ``meta`` device would wait for the device."""
    with _NoBlockingCopies(), no_autocast():
        yield


def no_autocast():
    """Leave autocast out, which the ``meta`` device does not have."""
    return patch.object(torch, "is_autocast_enabled", lambda *_: False)
