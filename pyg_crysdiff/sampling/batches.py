"""Cutting samples into batches, and making a batch within the memory there is."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

import torch

from pyg_crysdiff.data.crystal import Crystal

log = logging.getLogger(__name__)
MAX_BATCH = 256
_MAX_PAIRS = 60_000
# A GPU is filled by more crystals at once; this much of its memory goes to one pair of atoms.
_MAX_BATCH_GPU = 8192
_BYTES_PER_PAIR = 16_384


def cut_batches(
    sizes: Sequence[int],
    batch_size: int | None,
    device: torch.device,
    begun: Sequence[int] | None = None,
) -> list[list[int]]:
    """Cut crystals 0..M-1 into batches.

    Args:
        sizes: Atoms per crystal.
        batch_size: Crystals per batch; None for batches of a bounded number of pairs of atoms,
            which on a GPU its memory sets.
        device: Device.
        begun: Batch sizes of the run that is to go on; they win over those chosen here.
    """
    if begun is not None:
        ends = [0, *itertools.accumulate(begun)]
        return [list(range(a, b)) for a, b in itertools.pairwise(ends)]
    limit, most_pairs = batch_size or MAX_BATCH, _MAX_PAIRS
    if batch_size is None and device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        limit, most_pairs = _MAX_BATCH_GPU, memory // (2 * _BYTES_PER_PAIR)
    batches: list[list[int]] = []
    pairs = 0
    for index, n in enumerate(sizes):
        pairs += n * n
        full = batches and (
            len(batches[-1]) >= limit or (batch_size is None and pairs > most_pairs)
        )
        if not batches or full:
            batches.append([])
            pairs = n * n
        batches[-1].append(index)
    return batches


def within_memory(
    make: Callable[[Sequence[int]], Iterator[list[Crystal]]], indices: Sequence[int]
) -> Iterator[list[Crystal]]:
    """Run ``make`` on a batch, or on its halves where there is no memory for the whole.

    A crystal depends on its own seed alone, so that halving changes nothing but the memory.
    """
    try:
        yield from make(indices)
        return
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class of its own for the processor's memory.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if len(indices) == 1 or not (known or "allocate memory" in str(error)):
            raise
        log.warning("no memory for %d crystals at once: trying with half of them", len(indices))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(indices) // 2
    done: list[Crystal] = []
    for half in (indices[:middle], indices[middle:]):
        crystals: list[Crystal] = []
        for crystals in within_memory(make, half):  # noqa: B007  (the last one has them all)
            yield []
        done += crystals
    yield done
