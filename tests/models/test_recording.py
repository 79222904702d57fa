"""Network calls that are recorded once and replayed, with a recorder that needs no GPU."""

import logging

import pytest
import torch

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models import bound, recording
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.models.recording import Recorded
from tests.helpers import small_config, toy_set

SIZES = [3, 5, 2, 5]
SAMPLERS = [
    Sampler("ancestral", 6, corrector_steps=1), Sampler("renewing", 6), Sampler("flow", 6),
    Sampler("mixed", 6, temperature=0.5),
]  # fmt: skip


def kept_in_place(function, device):
    """Record as a CUDA graph does: the same outputs are filled anew from the same inputs."""
    assert device.type == "cpu"
    function()
    outputs = function()

    def replay():
        for kept, new in zip(outputs, function(), strict=True):
            kept.copy_(new)

    return outputs, replay


def with_a_constant(function, device):
    """Record what does not depend on the inputs."""
    return function(), lambda: None


def not_at_all(function, device):
    raise RuntimeError("operation not permitted when stream is capturing")


def doubled(x, y):
    return 2 * x, x + y


def test_a_replay_returns_what_the_function_does():
    recorded = Recorded(doubled, kept_in_place)
    made = []
    for k in range(5):
        x, y = torch.full((3,), float(k)), torch.full((3,), 7 * k)
        made.append(recorded(x, y))
    for k, (one, two) in enumerate(made):  # none of them was written over
        assert one.equal(torch.full((3,), 2.0 * k))
        assert two.equal(torch.full((3,), 8.0 * k))
    assert not recorded.given_up


def test_the_function_is_called_no_more_than_needed():
    calls = []

    def counted(x):
        calls.append(x.clone())
        return (x + 1,)

    recorded = Recorded(counted, lambda function, _: (function(), lambda: calls.append("replay")))
    recorded._function = counted
    for k in range(5):
        recorded(torch.ones(2) if k < 2 else torch.zeros(2))
    # once, the comparison, the recording, its replay, and replays alone from then on
    assert [isinstance(c, str) for c in calls] == [False, False, False, True, True, True, True]


@pytest.mark.parametrize("record", [with_a_constant, not_at_all])
def test_what_cannot_be_recorded_rightly_is_not_used(record, caplog):
    recorded = Recorded(doubled, record)
    with caplog.at_level(logging.WARNING):
        for k in range(4):
            x = torch.full((2,), float(k))
            one, two = recorded(x, x)
            assert one.equal(2 * x)
            assert two.equal(2 * x)
    assert recorded.given_up
    assert len(caplog.records) == 1


def test_other_shapes_are_not_replayed():
    recorded = Recorded(doubled, kept_in_place)
    for size in (2, 2, 2, 3, 2):
        x = torch.rand(size)
        one, _ = recorded(x, x)
        assert one.equal(2 * x)
    x = torch.rand(2, dtype=torch.float64)
    assert recorded(x, x)[0].equal(2 * x)


def test_numbers_that_are_none_are_compared_too():
    recorded = Recorded(lambda x: (x / 0, x), kept_in_place)
    for k in range(3):
        recorded(torch.tensor([0.0, 1.0, -float(k)]))
    assert not recorded.given_up


@pytest.fixture
def model():
    data = toy_set(12)
    torch.manual_seed(0)
    return build_model(small_config(), DataStatistics.from_dataset(data, ["energy"]))


def states(model, sampler, values, guidance):
    condition = None if values is None else {"energy": torch.tensor(values)}
    made = model.generate(SIZES, range(4), sampler, condition, guidance)
    return [state for _, state in made]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.solver)
@pytest.mark.parametrize(
    ("values", "guidance"),
    [(None, 1.0), ([1.0] * 4, 1.0), ([1.0, 2.0, float("nan"), 4.0], 2.0), ([1.0] * 4, 2.0)],
)
def test_recorded_sampling_gives_the_same_crystals(model, monkeypatch, sampler, values, guidance):
    plain = states(model, sampler, values, guidance)
    begun = []

    class Counted(Recorded):
        def __init__(self, function):
            super().__init__(function, kept_in_place)
            begun.append(self)

    monkeypatch.setattr(bound, "Recorded", Counted)
    monkeypatch.setattr(bound, "recorded_on", lambda device: True)
    ours = states(model, sampler, values, guidance)
    assert len(begun) == 1
    assert begun[0]._replay is not None
    assert not begun[0].given_up
    for a, b in zip(plain, ours, strict=True):
        for name in ("lattice", "coordinates", "species"):
            assert getattr(a, name).equal(getattr(b, name))


def test_nothing_is_recorded_unless_it_is_wanted(monkeypatch):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.delenv("CRYSDIFF_RECORD", raising=False)
    assert not recording.recorded_on(gpu)
    monkeypatch.setenv("CRYSDIFF_RECORD", "1")
    assert recording.recorded_on(gpu)
    assert not recording.recorded_on(cpu)
