"""How the generator is asked, and what it draws."""

from dataclasses import replace

import pytest

from pyg_crysdiff.design.drawing import Request, draw, requests_for
from pyg_crysdiff.design.objectives import read_objectives
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.training import train
from tests.helpers import small_config, toy_sets


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    run = train(small_config(max_epochs=1), folder, data=toy_sets(), progress=False)
    return load_checkpoint(run.checkpoint)


@pytest.fixture
def known(model):
    return model.model.statistics.properties["energy"]


def asked(model, *texts):
    return requests_for(read_objectives(texts), model)[0].target


def test_interval_is_cut_to_what_the_model_knows(model, known):
    middle = known.quantile(0.5)
    assert asked(model, f"energy=:{middle!r}") == {"energy": (known.minimum, middle)}
    assert asked(model, f"energy={middle!r}:") == {"energy": (middle, known.maximum)}
    inside = (known.quantile(0.4), known.quantile(0.6))
    assert asked(model, f"energy={inside[0]!r}:{inside[1]!r}") == {"energy": inside}


def beside(model, text):
    """What the second half of the draws asks for."""
    _, second = requests_for(read_objectives([text]), model)
    return second.target["energy"]


def test_half_of_the_draws_ask_beside_the_interval(model, known):
    low, high = known.quantile(0.3), known.quantile(0.7)
    under, over = known.share_below(low), known.share_below(high)  # some values are equal
    assert beside(model, f"energy=:{low!r}") == pytest.approx((low, known.quantile(under + 0.05)))
    assert beside(model, f"energy={high!r}:") == pytest.approx((known.quantile(over - 0.05), high))
    wider = (known.quantile(under - 0.05), known.quantile(over + 0.05))
    assert beside(model, f"energy={low!r}:{high!r}") == pytest.approx(wider)
    for text in (f"energy=:{known.maximum + 1}", f"energy=:{known.minimum - 1}", "energy=min"):
        assert len(requests_for(read_objectives([text]), model)) == 1


def test_nearest_end_where_the_interval_lies_beyond(model, known):
    lowest = (known.minimum, known.quantile(0.05))
    highest = (known.quantile(0.95), known.maximum)
    assert asked(model, f"energy=:{known.minimum - 9}") == {"energy": lowest}
    assert asked(model, f"energy={known.maximum + 9}:") == {"energy": highest}


def test_as_low_as_can_be_is_the_end_within_the_bounds(model, known):
    lowest = (known.minimum, known.quantile(0.05))
    low, high = known.quantile(0.3), known.quantile(0.6)
    assert asked(model, "energy=min") == {"energy": lowest}
    assert asked(model, "energy=max") == {"energy": (known.quantile(0.95), known.maximum)}
    assert asked(model, f"energy=min,:{high!r}") == {"energy": lowest}
    within = asked(model, f"energy=min,{low!r}:{high!r}")["energy"]
    assert low == within[0] <= within[1] <= high


def test_unknown_objectives_leave_the_model_free(model, known):
    assert asked(model, "e_above_hull=:0.1") is None
    assert set(asked(model, "e_above_hull=:0.1", "energy=min")) == {"energy"}
    own = [Request("max", guidance=2.0)]
    assert requests_for(read_objectives(["energy=min"]), model, own) == own


def test_requests_share_the_draws_and_go_on(model, tmp_path):
    requests = [Request("min:50"), Request(None), Request("max", num_atoms=3)]
    options = {"seed": 1, "device": "cpu", "progress": False}
    found = draw(model, 8, requests, out=tmp_path, **options)
    assert [c.info["request"] for c in found] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert all(len(c) == 3 for c in found[6:])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["request0", "request1", "request2"]
    again = draw(model, 8, requests, out=tmp_path, **options)
    assert [c.digest() for c in again] == [c.digest() for c in found]
    with pytest.raises(ValueError, match="another request"):
        draw(model, 8, [replace(requests[0], target="min"), *requests[1:]], out=tmp_path, **options)


def test_rounds_and_requests_differ(model, tmp_path):
    same = [Request(None), Request(None)]
    options = {"device": "cpu", "progress": False}
    first = draw(model, 4, same, seed=1, out=tmp_path / "1", **options)
    second = draw(model, 4, same, seed=2, out=tmp_path / "2", **options)
    assert len({c.digest() for c in (*first, *second)}) == 8


def test_fewer_draws_than_requests(model, tmp_path):
    requests = [Request(None)] * 3
    options = {"device": "cpu", "progress": False, "seed": 0}
    assert len(draw(model, 2, requests, out=tmp_path, **options)) == 2
    with pytest.raises(ValueError, match="no request"):
        draw(model, 2, [], out=tmp_path, **options)


def test_request_describes_itself_as_plain_data():
    told = Request({"gap": (1.0, 2.0)}, guidance=2.0, sampler="paper").describe()
    assert told["target"] == {"gap": (1.0, 2.0)}
    assert told["sampler"] == "paper"
