"""Making the batches of a request: here one after the other, or by the workers of an engine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.engine import Engine, Failed, Serial, chosen_engine
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.platform import choose_device
from pyg_crysdiff.progress import bar
from pyg_crysdiff.sampling.batches import within_memory
from pyg_crysdiff.sampling.generate import Provenance, generate
from pyg_crysdiff.sampling.planner import Planner
from pyg_crysdiff.sampling.store import SampleStore

log = logging.getLogger(__name__)
_Numbered = tuple[int, list[int]]  # number of a batch and the indices of its crystals


@dataclass(frozen=True)
class BatchWork:
    """Makes any batch of a request, also in another process.

    Attributes:
        model: Model.
        sizes: Number of atoms of every crystal of the request.
        targets: Wanted properties of every crystal of the request.
        provenance: Checkpoint, seed, guidance and sampler.
        autocast: Whether the network computes in bf16.
        planner: Constraints; None for none.
        device: Device of a worker; ``auto`` is the best that it has.
    """

    model: Generator
    sizes: Sequence[int]
    targets: Sequence[Mapping[str, float]]
    provenance: Provenance
    autocast: bool
    planner: Planner | None
    device: str

    @property
    def steps(self) -> int:
        """Number of steps of a batch."""
        return len(self.provenance.sampler.times(self.model.num_steps)) - 1

    def advance(self, indices: Sequence[int]) -> Iterator[list[Crystal]]:
        """Yield after every step of a batch, at last its crystals."""

        def make(some: Sequence[int]) -> Iterator[list[Crystal]]:
            return generate(
                self.model, some, self.sizes, self.targets, self.provenance, self.autocast,
                self.planner,
            )  # fmt: skip

        return within_memory(make, indices)

    def __call__(self, indices: Sequence[int]) -> list[Crystal]:
        """Return the crystals of a batch, made by a worker."""
        self.model.to(choose_device(self.device))
        done: list[Crystal] = []
        for done in self.advance(indices):  # noqa: B007  (the last one has them all)
            pass
        return done

    def to_send(self) -> BatchWork:
        """Return what can be sent to a worker that has other devices."""
        if self.model.elements.device.type == "cpu":
            return self
        return replace(self, model=copy.deepcopy(self.model).to("cpu"))


def run_batches(
    work: BatchWork,
    batches: list[list[int]],
    store: SampleStore | None,
    shard: tuple[int, int] | None,
    progress: bool,
) -> list[Crystal]:
    """Make or read every batch (of the shard), and leave each in the store as it is finished."""
    part, parts = shard or (0, 1)
    mine = list(enumerate(batches))[part::parts]
    crystals: list[Crystal] = []
    complete = False
    engine = chosen_engine()
    try:
        total = len(mine) * work.steps
        with bar(label="sampling", total=total, show=progress, leave=True, unit="steps") as shown:
            if engine is None or isinstance(engine, Serial):
                made = _here(work, mine, store, shown.update)
            else:
                made = _elsewhere(engine, work, mine, store, shown.update)
            for (number, batch), done in zip(mine, made, strict=True):
                if store and shard is None:
                    store.export(number, batch, done)
                crystals.extend(done)
        complete = True
    finally:
        if store and shard is None:
            store.finish(crystals, complete)
    if lost := sum(not crystal.is_finite for crystal in crystals):
        log.warning(
            "%d of %d crystals are not finite; they are kept, and count as invalid",
            lost,
            len(crystals),
        )
    return crystals


def _here(
    work: BatchWork,
    mine: Sequence[_Numbered],
    store: SampleStore | None,
    update: Callable[[int], object],
) -> Iterator[list[Crystal]]:
    """Yield the crystals of every batch; those that are not in the store are made here."""
    for number, batch in mine:
        done = store.read(number, batch) if store else None
        if done is None:
            done = []
            for step in work.advance(batch):
                update(1)
                done = step
            if store:
                store.write(number, batch, done)
        else:
            update(work.steps)
        yield done


def _elsewhere(
    engine: Engine,
    work: BatchWork,
    mine: Sequence[_Numbered],
    store: SampleStore | None,
    update: Callable[[int], object],
) -> Iterator[list[Crystal]]:
    """Yield the crystals of every batch; those that are not in the store are made by workers.

    A batch is written as it comes, and yielded when those before it have been.
    """
    ready = {n: kept for n, batch in mine if store and (kept := store.read(n, batch)) is not None}
    update(len(ready) * work.steps)
    missing = [(number, batch) for number, batch in mine if number not in ready]
    order = [number for number, _ in reversed(mine)]
    failed: Failed | None = None
    for place, done in engine.run(work.to_send(), [batch for _, batch in missing]):
        if isinstance(done, Failed):
            failed = done
            if store is None:
                break
            continue  # the others are kept, and the same call goes on from them
        number, batch = missing[place]
        if store:
            store.write(number, batch, done)
        ready[number] = done
        update(work.steps)
        while order and order[-1] in ready:
            yield ready.pop(order.pop())
    if failed is not None:
        raise failed.error
    while order:
        yield ready.pop(order.pop())
