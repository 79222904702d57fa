import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch

from pyg_crysdiff.data import read_crystals
from pyg_crysdiff.data.statistics import PropertyStatistics
from pyg_crysdiff.engine import using_engine
from pyg_crysdiff.models import CrystalDiffusion, load_checkpoint
from pyg_crysdiff.sampling import Control, Sampler, resolve_target, running, sample
from pyg_crysdiff.sampling import batches as module
from pyg_crysdiff.sampling.request import draw_target
from pyg_crysdiff.sampling.store import SampleStore
from pyg_crysdiff.training import train
from tests.helpers import small_config, toy_sets

FIVE = Sampler.of("paper", steps=5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return train(small_config(max_epochs=2), folder, data=toy_sets(), progress=False).checkpoint


def draw(checkpoint, count=6, **options):
    options = {"device": "cpu", "progress": False, **options}
    return sample(checkpoint, count, **{"sampler": FIVE, **options})


def assert_same(first, second, tolerance=0.0):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
        np.testing.assert_allclose(a.lattice, b.lattice, atol=tolerance, rtol=0)
        np.testing.assert_allclose(a.frac_coords, b.frac_coords, atol=tolerance, rtol=0)


def test_same_seed_same_crystals_and_seed_zero_is_a_seed(checkpoint):
    assert_same(draw(checkpoint, seed=0), draw(checkpoint, seed=0))
    other = draw(checkpoint, seed=1)
    assert not np.array_equal(draw(checkpoint, seed=0)[0].lattice, other[0].lattice)


def test_a_crystal_does_not_depend_on_how_many_are_asked_for(checkpoint):
    few = draw(checkpoint, 2)
    assert_same(few, draw(checkpoint, 7)[:2], tolerance=2e-4)


def test_interrupted_equals_uninterrupted(checkpoint, tmp_path, monkeypatch):
    whole = draw(checkpoint, 6, batch_size=2, out=tmp_path / "whole")
    write = SampleStore.write

    def fails_at_third(self, batch, indices, crystals):
        if batch == 2:
            raise KeyboardInterrupt
        write(self, batch, indices, crystals)

    monkeypatch.setattr(SampleStore, "write", fails_at_third)
    with pytest.raises(KeyboardInterrupt):
        draw(checkpoint, 6, batch_size=2, out=tmp_path / "cut")
    monkeypatch.undo()
    # what was finished is already there for people
    assert len(ase.io.read(tmp_path / "cut" / "samples.extxyz", ":")) == 4
    assert_same(draw(checkpoint, 6, batch_size=2, out=tmp_path / "cut"), whole)
    for name in ("samples.pt", "samples.extxyz", "cif"):
        a, b = (read_crystals(tmp_path / run / name) for run in ("whole", "cut"))
        assert len(a) == len(b) == 6


def test_files_carry_one_order_and_provenance(checkpoint, tmp_path):
    crystals = draw(checkpoint, 4, batch_size=3, out=tmp_path, target={"energy": 2.0})
    frames = ase.io.read(tmp_path / "samples.extxyz", ":")
    digest = load_checkpoint(checkpoint).digest
    for i, (frame, crystal) in enumerate(zip(frames, crystals, strict=True)):
        np.testing.assert_array_equal(frame.numbers, crystal.atomic_numbers)
        assert frame.info["index"] == i
        assert frame.info["checkpoint"] == digest
        assert frame.info["target"] == {"energy": 2.0}
        assert frame.info["steps"] == 5
    assert len(list((tmp_path / "cif").glob("*.cif"))) == 4
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["num_samples"] == 4
    with pytest.raises(ValueError, match="another request"):
        draw(checkpoint, 4, seed=3, out=tmp_path)


@pytest.mark.parametrize(("rule", "sizes"), [(3, {3}), ((2, 3), {2, 3})])
def test_number_of_atoms(checkpoint, rule, sizes):
    assert {len(c) for c in draw(checkpoint, 12, num_atoms=rule)} == sizes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "num_samples must be at least 1"),
        ({"target": {"energy": 1e6}}, "out of range"),
        ({"target": {"energy": float("nan")}}, "not a finite"),
        ({"target": {"gap": 1.0}}, "no property 'gap'"),
        ({"num_atoms": 0}, "at least one atom"),
        ({"num_atoms": (5, 2)}, "low, high"),
        ({"num_atoms": "many"}, "many"),
        ({"sampler": Sampler(steps=21)}, "steps must lie in 1..20"),
        ({"sampler": "slow"}, "there is no sampler 'slow'; presets: paper, fast"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_requests(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        draw(checkpoint, **options)


def test_truncated_checkpoint(checkpoint, tmp_path):
    whole = checkpoint.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.ckpt is truncated"):
        draw(tmp_path / "cut.ckpt")
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        draw(tmp_path / "none.ckpt")


def test_shards_of_several_processes_are_the_result_of_one(checkpoint, tmp_path):
    whole = draw(checkpoint, 7, batch_size=2, out=tmp_path / "one")
    folder = tmp_path / "many"
    parts = [draw(checkpoint, 7, batch_size=2, out=folder, shard=(k, 3)) for k in (2, 0, 1)]
    assert [len(p) for p in parts] == [2, 3, 2]  # batches {2}, {0, 3}, {1}
    assert not (folder / "samples.extxyz").exists()
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()}
    assert_same(draw(checkpoint, 7, batch_size=2, out=folder), whole)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()} == before
    one, many = (read_crystals(tmp_path / n / "samples.extxyz") for n in ("one", "many"))
    assert_same(one, many)
    for shard in ((3, 3), (-1, 2)):
        with pytest.raises(ValueError, match="0 <= k < n"):
            draw(checkpoint, 2, out=folder, shard=shard)
    with pytest.raises(ValueError, match="output folder"):
        draw(checkpoint, 2, shard=(0, 2))


def test_workers_of_an_engine_make_the_samples_of_one_process(checkpoint, tmp_path):
    """Bit by bit, in the folder too; a batch that failed is made by the same call."""
    control = Control(allowed=("Sr", "Ti", "O"))
    options = {"batch_size": 2, "control": control}
    whole = draw(checkpoint, 7, out=tmp_path / "one", **options)
    folder = tmp_path / "many"
    draw(checkpoint, 7, out=folder, shard=(1, 4), **options)
    with ThreadPoolExecutor(2) as threads, using_engine(threads):
        spread = draw(checkpoint, 7, **options)
        assert_same(draw(checkpoint, 7, out=folder, **options), whole)
    assert_same(spread, whole)
    assert [c.info for c in spread] == [c.info for c in whole]
    for name in ("samples.extxyz", "samples.pt", "request.json"):
        assert (tmp_path / "one" / name).read_bytes() == (folder / name).read_bytes()


def test_a_batch_that_fails_leaves_the_others_in_the_folder(checkpoint, tmp_path, monkeypatch):
    generate = running.generate
    tried = []

    def fails_at_2(model, indices, *rest):
        tried.append(indices[0])
        if 2 in indices:
            raise ArithmeticError("a bad batch")
        return generate(model, indices, *rest)

    monkeypatch.setattr(running, "generate", fails_at_2)
    options = {"batch_size": 2, "out": tmp_path}
    with ThreadPoolExecutor(2) as threads, using_engine(threads):
        with pytest.raises(ArithmeticError, match="a bad batch"):
            draw(checkpoint, 6, **options)
        assert sorted(tried) == [0, 2, 2, 4]
        assert {p.name[:5] for p in (tmp_path / "parts").iterdir()} == {"00000", "00002"}
        monkeypatch.undo()
        assert_same(draw(checkpoint, 6, **options), draw(checkpoint, 6, batch_size=2))


@pytest.mark.parametrize("solver", ["ancestral", "renewing", "flow", "mixed"])
def test_every_solver_gives_crystals_of_its_own(checkpoint, solver):
    crystals = draw(checkpoint, 3, sampler=Sampler(solver, 5, "edm"))
    assert all(np.isfinite(c.lattice).all() and np.isfinite(c.frac_coords).all() for c in crystals)
    assert {c.info["solver"] for c in crystals} == {solver}
    other = draw(checkpoint, 3, sampler=Sampler("ancestral", 5))
    assert not np.array_equal(crystals[0].frac_coords, other[0].frac_coords)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
    ],
)
def test_a_batch_without_memory_is_made_in_halves_and_loses_nothing(
    checkpoint, monkeypatch, error, tmp_path
):
    whole = draw(checkpoint, 5)
    generate = CrystalDiffusion.generate
    sizes = []

    def poor(self, num_atoms, *args, **options):
        sizes.append(len(num_atoms))
        for number, step in enumerate(generate(self, num_atoms, *args, **options)):
            if number == 2 and len(num_atoms) > 2:
                raise error
            yield step

    monkeypatch.setattr(CrystalDiffusion, "generate", poor)
    assert_same(draw(checkpoint, 5, out=tmp_path), whole, tolerance=2e-4)
    assert sizes == [5, 2, 3, 1, 2]

    def broken(self, *args, **options):
        raise RuntimeError("something else")

    monkeypatch.setattr(CrystalDiffusion, "generate", broken)
    with pytest.raises(RuntimeError, match="something else"):
        draw(checkpoint, 5)


def test_samples_go_on_in_the_batches_in_which_they_were_begun(checkpoint, tmp_path, monkeypatch):
    whole = draw(checkpoint, 6, out=tmp_path / "whole")
    monkeypatch.setattr(module, "MAX_BATCH", 2)
    draw(checkpoint, 6, out=tmp_path / "begun", shard=(0, 2))
    monkeypatch.setattr(module, "MAX_BATCH", 256)  # another machine
    assert_same(draw(checkpoint, 6, out=tmp_path / "begun"), whole, tolerance=2e-4)
    assert SampleStore.batches(tmp_path / "begun", 6) == [2, 2, 2]
    assert SampleStore.batches(tmp_path / "begun", 7) is None
    assert SampleStore.batches(tmp_path / "nothing", 6) is None


def test_a_gpu_gets_as_many_crystals_as_its_memory_takes(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: type("P", (), {"total_memory": 2**30})
    )
    sizes = [10] * 1000
    small = module.cut_batches(sizes, None, torch.device("cpu"))
    large = module.cut_batches(sizes, None, torch.device("cuda"))
    assert max(map(len, small)) == 256
    assert max(map(len, large)) == 2**30 // (2 * module._BYTES_PER_PAIR) // 100
    assert [i for b in large for i in b] == [i for b in small for i in b] == list(range(1000))


def test_an_interval_gives_every_crystal_a_value_of_its_own(checkpoint):
    known = load_checkpoint(checkpoint).model.statistics.properties["energy"]
    wanted = [c.info["target"]["energy"] for c in draw(checkpoint, 12, target="min:40")]
    assert len(set(wanted)) > 6  # the toy set has crystals of equal energy
    assert known.minimum <= min(wanted) <= max(wanted) <= known.quantile(0.4)
    # crystal i is asked for the same, however many there are
    assert [c.info["target"]["energy"] for c in draw(checkpoint, 3, target="min:40")] == wanted[:3]
    far = (known.maximum + 0.1, known.maximum + 0.2)  # nothing in the training set: evenly
    values = [c.info["target"]["energy"] for c in draw(checkpoint, 4, target={"energy": far})]
    assert all(far[0] <= v <= far[1] for v in values)
    assert len(set(values)) == 4


def test_values_of_an_interval_follow_the_training_distribution(checkpoint, rng):
    values = rng.exponential(size=500)
    known = PropertyStatistics.from_values(values, np.ones(500, dtype=int))
    statistics = replace(load_checkpoint(checkpoint).model.statistics, properties={"gap": known})
    low, high = np.quantile(values, [0.2, 0.6])
    wanted = resolve_target({"gap": (low, high)}, statistics)
    drawn = np.array([draw_target(wanted, statistics, 0, i)["gap"] for i in range(4000)])
    assert low <= drawn.min() <= drawn.max() <= high
    for share in (0.25, 0.5, 0.75):
        point = np.quantile(values, 0.2 + share * 0.4)
        assert np.mean(drawn <= point) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    "target",
    [
        "middle",
        "min:",
        "min:120",
        "max:-1",
        "max:nan",
        "min:inf",
        {"energy": (2.0, 1.0)},
        {"energy": (1.0, float("inf"))},
        {"energy": "nan"},
        {"energy": None},
        {"energy": (1.0, 1.5, 2.0)},
    ],
)
def test_bad_targets(checkpoint, target):
    with pytest.raises(ValueError, match="target"):
        draw(checkpoint, target=target)


def test_the_upper_end_stands_beside_the_lower_one(checkpoint):
    statistics = load_checkpoint(checkpoint).model.statistics
    p = statistics.properties["energy"]
    assert resolve_target("max", statistics) == {"energy": p.maximum}
    assert resolve_target("max:30", statistics) == {"energy": (p.quantile(0.7), p.maximum)}
    assert resolve_target("min:30", statistics) == {"energy": (p.minimum, p.quantile(0.3))}
    wanted = [c.info["target"]["energy"] for c in draw(checkpoint, 5, target="max:30")]
    assert p.quantile(0.7) <= min(wanted) <= max(wanted) <= p.maximum
    assert resolve_target({"energy": [1, 2]}, statistics, extrapolate=True) == {
        "energy": (1.0, 2.0)
    }


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"target": "below"}, "is below the training minimum"),
        ({"target": "above"}, "is above the training maximum"),
        ({"target": "around", "extrapolate": True}, "is above the training maximum"),
        ({"num_atoms": 9}, r"9 atoms are more than any training crystal has \(6\)"),
        ({"num_atoms": 1}, r"1 atoms are fewer than any training crystal has \(2\)"),
    ],
)
def test_what_is_asked_beyond_the_data_is_told(checkpoint, options, line, caplog):
    p = load_checkpoint(checkpoint).model.statistics.properties["energy"]
    low, high = p.minimum - p.std / 2, p.maximum + p.std / 2
    values = {"below": low, "above": high, "around": (low, high)}
    if name := options.get("target"):
        options = {**options, "target": {"energy": values[name]}}
    draw(checkpoint, 2, **options)
    assert re.search(line + ".*the model extrapolates", caplog.text)
    caplog.clear()
    draw(checkpoint, 2, target="max:10", num_atoms=(2, 6))
    assert "extrapolates" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 10**9}, "at most 1,000,000 crystals"),
        ({"num_atoms": 10**5}, "at most 10,000"),
        ({"num_atoms": (1, 10**9)}, "at most 10,000"),
        ({"num_atoms": {5: 1.0, 10**7: 1.0}}, "at most 10,000"),
        ({"control": Control(formulas=("C1000000",))}, "more than 10,000 atoms"),
        ({"guidance": float("nan")}, "guidance must be a finite"),
        ({"guidance": float("inf")}, "guidance must be a finite"),
        ({"sampler": Sampler(steps=10**9)}, "steps"),
    ],
)
def test_requests_without_bound_are_refused_before_memory_is_taken(
    checkpoint, options, message, monkeypatch
):
    monkeypatch.setattr("pyg_crysdiff.sampling.running.generate", lambda *_: pytest.fail("sampled"))
    with pytest.raises(ValueError, match=message):
        draw(checkpoint, **options)


def test_crystals_beyond_the_memory_are_refused_with_an_estimate(checkpoint, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.sampling.limits._memory", lambda _: 2**30)
    with pytest.raises(ValueError, match=r"1500 atoms needs 1 GiB.*at most about 1448"):
        draw(checkpoint, 1, num_atoms=1500)
    monkeypatch.setattr("pyg_crysdiff.sampling.limits._memory", lambda _: None)  # not known
    draw(checkpoint, 1, num_atoms=20, sampler=Sampler(steps=1))


def test_crystals_that_are_not_finite_are_kept_and_counted(
    checkpoint, tmp_path, monkeypatch, caplog
):
    crystals = CrystalDiffusion.crystals

    def lost(self, state):
        found = crystals(self, state)
        found[0] = replace(found[0], lattice=np.full((3, 3), np.nan))
        return found

    monkeypatch.setattr(CrystalDiffusion, "crystals", lost)
    assert len(draw(checkpoint, 4, batch_size=2, out=tmp_path)) == 4
    assert "2 of 4 crystals are not finite" in caplog.text
    for name in ("samples.extxyz", "samples.pt", "cif"):
        entries = read_crystals(tmp_path / name)
        assert [hasattr(e, "reason") for e in entries] == [True, False, True, False]
