"""A function of tensors that keep their shapes, recorded once as a CUDA graph and replayed.

For batches of few crystals a GPU is done with an operation before the processor has started the
next. A replayed graph starts them all at once. ``CRYSDIFF_RECORD=1`` in the environment turns it
on. Nobody has run it on a GPU so far, so it is off by default.

What is recorded is checked in use: at its first replay, with other inputs than it was recorded
with, it must reproduce the function itself. If it does not, or cannot be recorded, the function
serves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Tensors = tuple[Tensor, ...]
Recorder = Callable[[Callable[[], Tensors], torch.device], tuple[Tensors, Callable[[], None]]]
_TOLERANCE = 1e-2  # of the largest output; a wrong replay is off by far more than bf16 rounds


def recorded_on(device: torch.device) -> bool:
    """Whether network calls are recorded on a device: a GPU, and ``CRYSDIFF_RECORD`` is 1."""
    return device.type == "cuda" and os.environ.get("CRYSDIFF_RECORD", "0") == "1"


def cuda_graph(
    function: Callable[[], Tensors], device: torch.device
) -> tuple[Tensors, Callable[[], None]]:
    """Record a function as a CUDA graph.

    Args:
        function: Reads tensors that stay where they are, and waits for nothing.
        device: GPU on which it works.

    Returns:
        What the function returned; and a call that computes it anew in the same place, from what
        then is in the tensors that the function reads.

    Raises:
        RuntimeError: If it does what cannot be recorded.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries and kernels are loaded before, not while
            function()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = function()
    return outputs, graph.replay


class Recorded:
    """A function that is replayed from its third call on.

    The first call is the function itself. The second records it with the inputs of the first,
    replays it with its own and compares. Calls with other shapes or formats are the function
    itself.

    Args:
        function: Function of tensors on one device, whose outputs depend on them alone.
        record: Records a call.

    Attributes:
        given_up: Whether the function could not be recorded, or not rightly.
    """

    def __init__(self, function: Callable[..., Tensors], record: Recorder = cuda_graph) -> None:
        self._function, self._record = function, record
        self._inputs: Tensors = ()
        self._outputs: Tensors = ()
        self._replay: Callable[[], None] | None = None
        self.given_up = False

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Return what the function makes of the inputs, in tensors of the caller's own."""
        if not self._inputs:
            self._inputs = tuple(x.clone() for x in inputs)
            return self._function(*inputs)
        if self.given_up or not self._fits(inputs):
            return self._function(*inputs)
        if self._replay is None:
            return self._begun(inputs)
        return self._replayed(self._replay, inputs)

    def _fits(self, inputs: Tensors) -> bool:
        return [(x.shape, x.dtype, x.device) for x in inputs] == [
            (x.shape, x.dtype, x.device) for x in self._inputs
        ]

    def _begun(self, inputs: Tensors) -> Tensors:
        """Record the function; return its outputs, and let it serve if the replay's differ."""
        wanted = self._function(*inputs)
        try:
            self._outputs, replay = self._record(
                lambda: self._function(*self._inputs), inputs[0].device
            )
            found = self._replayed(replay, inputs)
            agrees = all(_close(a, b) for a, b in zip(found, wanted, strict=True))
        except (RuntimeError, ValueError) as error:
            log.warning("the network call cannot be recorded (%s): it is made anew", error)
            self.given_up = True
            return wanted
        if agrees:
            self._replay = replay
        else:
            log.warning("the recorded network call disagrees with the call itself and is not used")
            self.given_up, self._outputs = True, ()
        return wanted

    def _replayed(self, replay: Callable[[], None], inputs: Tensors) -> Tensors:
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        replay()
        # The next replay writes to the same place.
        return tuple(x.clone() for x in self._outputs)


def _close(ours: Tensor, wanted: Tensor) -> bool:
    """Whether two outputs are the same up to rounding; numbers that are none count as equal."""
    scale = float(wanted.nan_to_num(0.0, 0.0, 0.0).abs().amax()) if wanted.numel() else 0.0
    return torch.allclose(ours, wanted, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True)
