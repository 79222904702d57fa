"""Training and sampling steps never wait for the device, shown without one."""

from contextlib import ExitStack

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer
from torch_geometric.data import Batch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.sampling.control import Control, Template
from pyg_crysdiff.sampling.inpainting import known_batch
from pyg_crysdiff.sampling.planner import Planner
from pyg_crysdiff.training import compose_config
from pyg_crysdiff.training.averaging import WarmedAverage
from pyg_crysdiff.training.callbacks import Budget
from pyg_crysdiff.training.divergence import FiniteSteps
from pyg_crysdiff.training.lightning_output import quiet_lightning
from pyg_crysdiff.training.loaders import CrystalData
from pyg_crysdiff.training.module import DiffusionModule
from tests.helpers import small_config, toy_set
from tests.no_waiting import META, WaitedError, no_autocast, nobody_waits

DATA = toy_set(24)
SIZES = [3, 5, 2, 5]
CONDITIONERS = ["adacdi", "adacds", "adaln", "cdi", "cds"]
SAMPLERS = [
    Sampler("ancestral", 4), Sampler("ancestral", 4, corrector_steps=1), Sampler("flow", 4, "edm"),
    Sampler("renewing", 4, "focused"), Sampler("renewing", 4, corrector_steps=2, renewal=0.5),
    Sampler("mixed", 4, temperature=0.5),
]  # fmt: skip


def test_the_device_notices():
    there = torch.ones(3, device=META)
    looks = [
        lambda: there.sum().item(), lambda: there[there > 0], there.nonzero,
        lambda: bool(there.any()), there.cpu, there.tolist,
        lambda: torch.repeat_interleave(there, there.long()), lambda: torch.equal(there, there),
        lambda: torch.ones(3).to(META), lambda: there.copy_(torch.ones(3)),
    ]  # fmt: skip
    for look in looks:
        with pytest.raises((WaitedError, RuntimeError, NotImplementedError)), nobody_waits():
            look()
        with pytest.raises((WaitedError, RuntimeError, NotImplementedError)):  # noqa: SIM117
            with nobody_waits(), torch.inference_mode():
                look()
    with nobody_waits(), torch.inference_mode():
        torch.ones(3).to(META, non_blocking=True)


def model_of(conditioner="cds"):
    config = small_config()
    config["conditioner"] = compose_config([f"conditioner={conditioner}"])["conditioner"]
    return build_model(config, DataStatistics.from_dataset(DATA, ["energy"]))


def steps(model, sampler, condition=None, guidance=1.0, inpainting=None):
    """The number of steps of a batch, and whether all its crystals are there."""
    seeds = range(len(SIZES))
    made = list(model.generate(SIZES, seeds, sampler, condition, guidance, inpainting))
    assert len(made[-1][1].species) == sum(SIZES)
    return len(made)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_sampling_does_not_wait(sampler, guidance):
    model = model_of().to(META)
    for values in ([1.0] * 4, [1.0, 2.0, float("nan"), 4.0]):
        with nobody_waits():
            assert steps(model, sampler, {"energy": torch.tensor(values)}, guidance) > 2


@pytest.mark.parametrize("conditioner", CONDITIONERS)
def test_sampling_with_any_conditioner_does_not_wait(conditioner):
    model = model_of(conditioner).to(META)
    with nobody_waits():
        assert steps(model, SAMPLERS[0], {"energy": torch.ones(4)}) == 4


def test_sampling_with_given_parts_does_not_wait():
    model = model_of().to(META)
    template = Template(Crystal.from_data(DATA[0]), sites=(0,))
    planner = Planner(Control(template=template), model.statistics.elements)
    with nobody_waits():
        known = known_batch(planner, model, range(len(SIZES)), SIZES, 0)
        steps(model, SAMPLERS[1], inpainting=known)


class EnoughError(Exception):
    """Steps were made, and the epoch's end, where losses are read, is not wanted."""


class OnMeta(SingleDeviceStrategy):
    """The meta device, of which no machine has to know."""

    def setup_environment(self):
        """Need nothing of the machine."""


class Watch(Callback):
    """Looks on from the second step, when all that is made once is there, and ends after four."""

    def __init__(self):
        self.watching = ExitStack()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 0:
            self.watching.enter_context(nobody_waits())
        if batch_idx == 3:
            raise EnoughError


@pytest.mark.parametrize("conditioner", ["cds", "adacdi"])
def test_a_training_step_does_not_wait(conditioner, tmp_path, monkeypatch):
    """All of it, as Lightning runs it: batch, loss, gradients, clipping, optimiser, average."""
    # Before the first step it counts the batches on the device.
    for loop in ("fit_loop", "evaluation_loop"):
        monkeypatch.setattr(f"lightning.pytorch.loops.{loop}.has_len_all_ranks", lambda *_: True)
    monkeypatch.setattr("pyg_crysdiff.training.optimizers._FUSED", ("meta",))  # as on a GPU
    kinds = "_get_fused_kernels_supported_devices"
    monkeypatch.setitem(Optimizer.__init__.__globals__, kinds, lambda: ["meta"])
    model = model_of(conditioner)
    budget, watch = Budget(2, None), Watch()
    trainer = pl.Trainer(
        strategy=OnMeta(META, accelerator=CPUAccelerator()),
        max_epochs=2, gradient_clip_val=0.5, use_distributed_sampler=False, logger=False,
        callbacks=[WarmedAverage(0.99), budget, FiniteSteps(), watch], num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    monkeypatch.setattr(trainer, "_teardown", lambda: None)  # it would bring everything back
    module = DiffusionModule(model, small_config(), {"num_train": len(DATA)}, budget.progress)
    batches = CrystalData(DATA, None, 4, 0)
    with quiet_lightning(), no_autocast(), watch.watching, pytest.raises(EnoughError):
        trainer.fit(module, batches)
    assert trainer.global_step == 4


COUNTS = ["network=mlp", "basis.kind=principal"]
FORMS = [
    ["network=mlp"],
    ["network=unet"],
    *([*COUNTS, f"counts={k}"] for k in ("potentials+sums", "potentials", "corrected")),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", ["ancestral", "flow"])
def test_the_second_family_does_not_wait(solver, form):
    small = [
        "family=structrepdiff", *form, "mlp.dim=16", "unet.dim=16",
        "unet.num_stages=2", "unet.num_heads=2",
        "unet.head_dim=8", "process.num_steps=30", "descriptor.ead.cutoff=6.0",
        "descriptor.ead.centres=[1.0,4.0,0.5]",
    ]  # fmt: skip
    model = build_model(compose_config(small), DataStatistics.from_dataset(DATA, ["energy"]))
    for scale in (model.std, model.extreme):
        scale.fill_(1.0)
    batch = Batch.from_data_list([DATA[k] for k in range(3)])
    batch.representation = torch.ones(3, len(model.mean))
    generator = torch.Generator().manual_seed(0)
    model.loss(batch, generator)["total"].backward()
    model.to(META)
    values = {key: value.to(META) for key, value in batch.items() if isinstance(value, Tensor)}
    there = Batch(**values, property_names=batch.property_names)
    with nobody_waits():
        model.loss(there, generator)["total"].backward()
        given = {"energy": torch.ones(2)}
        assert len(list(model.generate([], [0, 1], Sampler(solver, 3), given, 2.0))) == 3
