"""The U-Net, training, sampling and the benchmark of StructRepDiff."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.benchmark.reconstruction import run_reconstruction
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.cli import main
from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.gaussian import GaussianDDPM
from pyg_crysdiff.models import build_model, export_checkpoint, load_checkpoint
from pyg_crysdiff.nn import CDI, CDS, AdaLN, Conditioner
from pyg_crysdiff.sampling import Sampler, sample
from pyg_crysdiff.sampling.store import SampleStore
from pyg_crysdiff.structrepdiff import StructRepDiff
from pyg_crysdiff.structrepdiff.mlp import RepresentationMLP
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.unet import LinearAttention, RepresentationUNet
from pyg_crysdiff.training import compose_config, fit
from tests.helpers import toy_set, toy_sets

SMALL = [
    "family=structrepdiff-mlp", "mlp.dim=64", "mlp.num_blocks=2", "unet.dim=16",
    "unet.num_stages=2",
    "unet.num_heads=2", "unet.head_dim=8", "process.num_steps=30", "basis.components=16",
    "batch_size=8", "precision=32-true", "device=cpu",
    "validate_every=1", "descriptor.ead.cutoff=6.0", "descriptor.ead.centres=[1.0,4.0,0.5]",
    "reconstruction.waves=1", "reconstruction.fresh=[4,0]", "reconstruction.polish=null",
    "reconstruction.rounds=[{keep: 4, iterations: 5, lr: 0.1, reach: 5.0, largest_eta: null}]",
]  # fmt: skip


class Scaling(Conditioner):
    """A conditioner that uses the hook before the blocks."""

    def block_input(self, block, z, z_c, crystal):
        del block
        return z * (1 + z_c[crystal])


UNET = {"dim": 16, "num_stages": 2, "num_heads": 2, "head_dim": 8}
PAPER = {"patch": 1, "position": False, "mixer": False, "middle_blocks": 2}
NETWORKS = {
    "unet": partial(RepresentationUNet, **UNET),
    "unet, paper": partial(RepresentationUNet, **UNET, **PAPER),
    "mlp": partial(RepresentationMLP, dim=32, num_blocks=2, time_dim=16),
}


@pytest.mark.parametrize("conditioner", [CDI, CDS, AdaLN, Scaling])
@pytest.mark.parametrize("network", NETWORKS)
def test_conditioners_of_the_transformer_serve_the_networks(conditioner, network):
    torch.manual_seed(0)
    net = NETWORKS[network](21, {"energy": (0.0, 1.0)}, conditioner)
    for parameter in net.parameters():  # some maps start at zero
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = torch.randn(4, 21), torch.tensor([1, 5, 9, 20])
    value = torch.tensor([1.0, -1.0, torch.nan, 0.5])
    out = net(x, t, {"energy": value})
    assert out.shape == x.shape
    alone = torch.cat([net(x[[k]], t[[k]], {"energy": value[[k]]}) for k in range(4)])
    torch.testing.assert_close(out, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[2:3], net(x[2:3], t[2:3]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(out[0], net(x[:1], t[:1])[0], atol=1e-4)
    assert not torch.allclose(out[0], net(x[:1], t[1:2], {"energy": value[:1]})[0], atol=1e-4)


def test_the_papers_unet_has_a_middle_and_no_mixer():
    ours, paper = (NETWORKS[name](21) for name in ("unet", "unet, paper"))
    left_out = {"mixer", "position"}
    names = [{n.split(".")[0] for n, _ in net.named_parameters()} for net in (ours, paper)]
    assert names[0] - names[1] == left_out
    assert names[1] - names[0] == {"middle_end"}
    assert len(paper.attention) == len(ours.attention) + 1
    # Without a mixer and a position it is a convolution: far entries are not seen by one layer,
    # but the attention in the middle reaches all.
    x, t = torch.zeros(1, 21), torch.tensor([3])
    far = torch.eye(21)[:1]
    assert not torch.equal(paper(x, t)[0, -1], paper(x + far, t)[0, -1])
    with pytest.raises(ValueError, match="middle_blocks must be 1 or 2"):
        RepresentationUNet(21, middle_blocks=3)


def test_linear_attention_is_the_explicit_product():
    torch.manual_seed(0)
    layer = LinearAttention(8, 2, 4)
    x = torch.randn(1, 8, 5)
    q, k, v = layer.qkv(layer.norm(x)).view(3, 2, 4, 5)
    q, k = q.softmax(1) / 2, k.softmax(2)
    heads = torch.stack(
        [torch.stack([(q[h, :, m] @ k[h]) @ v[h].t() for m in range(5)], 1) for h in range(2)]
    )
    torch.testing.assert_close(layer(x), x + layer.out(heads.view(1, 8, 5)))


def test_gaussian_diffusion_samples_a_gaussian_with_the_analytic_noise(generator):
    mean, std = torch.tensor([1.5, -0.5]), torch.tensor([0.3, 1.2])
    process = GaussianDDPM((2,), num_steps=300)
    x = process.prior(torch.randn(4000, 2, generator=generator))
    for time in range(300, 0, -1):
        t = torch.full((4000,), time)
        a = process.alpha_bar[time].float()
        score = -(x - a.sqrt() * mean) / (a * std**2 + 1 - a)
        eps = -(1 - a).sqrt() * score
        x = process.step(x, eps, t, t - 1, torch.randn(x.shape, generator=generator))
    torch.testing.assert_close(x.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(x.std(0), std, atol=0.06, rtol=0)
    bounded = GaussianDDPM((2,), num_steps=300, limit=2.0)
    wild = bounded.estimate(torch.full((1, 2), 50.0), torch.zeros(1, 2), torch.tensor([290]))
    assert wild.abs().max() == 2.0


def prepared(*changes):
    statistics = DataStatistics.from_dataset(toy_set(24), ["energy"])
    model = build_model(compose_config([*SMALL, *changes]), statistics).eval()
    model.prepare(toy_set(24), toy_set(8), progress=False)
    return model


@pytest.fixture(scope="module")
def untrained():
    return prepared()


@pytest.fixture(scope="module")
def of_fractions():
    return prepared("counts=false")


def test_components_of_a_trained_model_stay_and_single_entries_do_not():
    """Further training on other crystals must not turn the axes under the network."""
    statistics = DataStatistics.from_dataset(toy_set(24), ["energy"])
    for kind, stays in (("principal", True), ("entries", False)):
        model = build_model(
            compose_config([*SMALL, f"basis.kind={kind}", f"counts={str(stays).lower()}"]),
            statistics,
        )
        model.prepare(toy_set(24), toy_set(4), progress=False)
        before = model.mean.clone()
        axes = [buffer.clone() for buffer in model.basis.buffers()]
        assert model.frequencies.sum() == 24
        model.prepare(toy_set(12), toy_set(4), progress=False)
        assert model.frequencies.sum() == 12  # space groups of the present set alone
        assert torch.equal(model.mean, before) == stays
        assert len(axes) == 2 * stays
        for then, now in zip(axes, model.basis.buffers(), strict=True):
            torch.testing.assert_close(now, then)


@pytest.mark.parametrize("predict", ["noise", "velocity"])
def test_a_perfect_prediction_has_no_loss_and_gives_the_noise_back(
    of_fractions, predict, monkeypatch
):
    model = of_fractions
    batch = Batch.from_data_list(list(toy_set(8, seed=1)))
    clean = model.basis(model.standardise(model.representation(batch)))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    t = torch.full((8,), 12)
    a = model.process.alpha_bar[12].float()
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    # Of the noise and of the clean value the one follows from the other.
    wanted = noise if predict == "noise" else (a.sqrt() * noisy - clean) / (1 - a).sqrt()
    # The test crystals lie outside of the training's: nothing is cut.
    predicts = replace(model.parameterisation, predict=predict, margin=10.0)
    monkeypatch.setattr(model, "parameterisation", predicts)
    kept = model.extreme > 0
    found = predicts.noise(noisy, t, wanted, model.extreme)
    torch.testing.assert_close(found[:, kept], noise[:, kept], atol=1e-4, rtol=0)

    def perfect(x, time, condition, hints):
        level = model.process.signal.per_row(time, x)
        eps = (x - level.sqrt() * clean) / (1 - level).sqrt()
        if predict == "noise":
            return eps
        return (eps - (1 - level).sqrt() * x) / level.sqrt()

    monkeypatch.setattr(model, "_network", perfect)
    losses = model.loss(batch, torch.Generator().manual_seed(0))
    assert set(losses) == {"total", "descriptor", "composition", "cell"}
    assert max(float(value) for value in losses.values()) < 1e-4


def test_potentials_that_name_the_true_counts_have_no_loss(untrained, monkeypatch):
    model, crystals = untrained, list(toy_set(8))
    batch = Batch.from_data_list(crystals)
    elements, most = model.representation.elements, model.counts.prior.shape[1]
    counts = torch.stack([(data.atomic_numbers == elements[:, None]).sum(1) for data in crystals])
    told = 60.0 * torch.nn.functional.one_hot(counts, most)
    of_sums = torch.zeros(8, model.counts.sums.numel())

    def perfect(x, time, condition, hints):
        coordinates = torch.zeros(8, model.basis.dim)
        coordinates[:, model.whole.place] = told[:, :, 0]
        return torch.cat([coordinates, told[:, :, 1:].flatten(1), of_sums], 1)

    monkeypatch.setattr(model, "_network", perfect)
    losses = model.loss(batch, torch.Generator().manual_seed(0))
    assert abs(float(losses["composition"])) < 1e-4
    assert float(losses["descriptor"]) > 0.1
    total = (losses["descriptor"] + 0.1 * losses["composition"] + losses["cell"]) / 2.1
    torch.testing.assert_close(losses["total"], total)


def test_parts_weigh_what_the_configuration_says(untrained, monkeypatch):
    model = untrained
    squares = torch.rand(5, model.basis.dim, generator=torch.Generator().manual_seed(0))
    kept = [part > 0 for part in model.extreme.split(model.basis.parts)]
    parts = [x[:, k].mean() for x, k in zip(squares.split(model.basis.parts, 1), kept, strict=True)]
    monkeypatch.setattr(model.part_loss, "weights", [2.0, 1.0, 1.0])
    expected = (2 * parts[0] + parts[1] + parts[2]) / 4
    torch.testing.assert_close(model.part_loss(squares, model.extreme)["total"], expected)
    monkeypatch.setattr(model.part_loss, "weights", None)
    flat = squares[:, torch.cat(kept)].mean()
    torch.testing.assert_close(model.part_loss(squares, model.extreme)["total"], flat)


def test_settings_of_the_process_are_checked():
    statistics = DataStatistics.from_dataset(toy_set(4), ["energy"])
    for change, message in (
        ("process.predict=magic", "predict must be one of"),
        ("process.part_weights=[1,2]", "three positive numbers"),
        ("process.part_weights=heavy", "must be auto, null or three numbers, got 'heavy'"),
        ("network=magic", "unknown network 'magic'"),
    ):
        with pytest.raises(ValueError, match=message):
            build_model(compose_config([*SMALL, change]), statistics)


def test_configurations_of_before_build_the_network_of_before():
    config = compose_config(SMALL)
    for key in ("network", "mlp", "basis", "counts"):
        del config[key]
    for key in ("position", "mixer", "middle_blocks"):
        del config["unet"][key]
    for key in ("predict", "part_weights"):
        del config["process"][key]
    model = build_model(config, DataStatistics.from_dataset(toy_set(4), ["energy"]))
    names = set(model.state_dict())
    assert {"mean", "std", "extreme", "frequencies", "denoiser.position"} <= names
    assert {name.split(".")[0] for name in names} == {
        "mean", "std", "extreme", "frequencies", "denoiser"
    }  # fmt: skip
    assert "denoiser.mixer.4.bias" in names
    assert not any("middle_end" in name for name in names)
    assert len(model.extreme) == model.representation.dim
    assert model.parameterisation.predict == "noise"


def test_the_papers_preset_is_the_papers():
    config = compose_config(["family=structrepdiff-paper"])
    assert config["model"] == "structrepdiff"
    assert config["network"] == "unet"
    assert {k: config["unet"][k] for k in PAPER} == PAPER
    assert config["basis"]["kind"] == "entries"
    assert config["process"]["predict"] == "noise"
    assert config["process"]["part_weights"] is None
    assert config["descriptor"]["ead"]["cutoff"] == 20.0
    assert config["reconstruction"]["starts"] == ["uniform"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structrepdiff")
    quick = ["max_epochs=40", "optimizer.lr=5.0e-3", "optimizer.warmup_steps=10"]
    return fit([*SMALL, *quick], folder, data=toy_sets(), progress=False)


def test_training_standardises_and_learns(trained):
    model = load_checkpoint(trained.checkpoint).model
    data, _ = model.prepare(toy_set(24), toy_set(8, seed=1), progress=False)
    values = model.standardise(torch.cat([d.representation for d in data]))
    moving = model.std > 0
    torch.testing.assert_close(values.mean(0), torch.zeros(len(moving)), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        values.std(0, unbiased=False)[moving], torch.ones(int(moving.sum())), atol=1e-3, rtol=0
    )
    assert int(model.frequencies.sum()) == 24
    batch = Batch.from_data_list(list(toy_set(24)))  # random crystals have nothing in common
    torch.manual_seed(0)
    fresh = build_model(
        compose_config(SMALL), DataStatistics.from_dataset(toy_set(24), ["energy"])
    ).eval()
    fresh.prepare(toy_set(24), toy_set(8), progress=False)
    with torch.no_grad():
        before, after = (
            float(m.loss(batch, torch.Generator().manual_seed(0))["total"]) for m in (fresh, model)
        )
    assert after < 0.9 * before
    del batch.properties, batch.property_names
    with pytest.raises(KeyError, match="energy"):
        model.loss(batch, torch.Generator())


def test_sampling_is_seeded_resumable_and_says_how_well_it_reconstructs(trained, tmp_path):
    sampler = Sampler("ancestral", 5)
    options = {"target": {"energy": 1.5}, "sampler": sampler, "progress": False, "guidance": 1.5}
    first = sample(trained.checkpoint, 3, out=tmp_path / "a", **options)
    again = sample(trained.checkpoint, 3, out=tmp_path / "b", batch_size=1, **options)
    for one, two in zip(first, again, strict=True):
        assert one.atomic_numbers.tolist() == two.atomic_numbers.tolist()
        np.testing.assert_allclose(one.lattice, two.lattice, atol=1e-3)
        assert one.info["reconstruction_loss"] >= 0
        assert isinstance(one.info["reconstructed"], bool)
        assert one.info["corrector_steps"] == 0
        assert one.volume > 0.1
    resumed = sample(trained.checkpoint, 3, out=tmp_path / "a", **options)
    np.testing.assert_array_equal(resumed[2].frac_coords, first[2].frac_coords)
    with pytest.raises(ValueError, match="number of atoms itself"):
        sample(trained.checkpoint, 1, num_atoms=4, **options)


def test_samples_go_on_in_the_batches_of_an_earlier_version(trained, tmp_path, monkeypatch):
    options = {"sampler": Sampler("ancestral", 3), "progress": False, "out": tmp_path}
    monkeypatch.setattr(StructRepDiff, "crystals_at_once", 1)
    sample(trained.checkpoint, 3, shard=(0, 2), **options)
    monkeypatch.setattr(StructRepDiff, "crystals_at_once", 2)
    assert len(sample(trained.checkpoint, 3, **options)) == 3
    assert SampleStore.batches(tmp_path, 3) == [1, 1, 1]
    with pytest.raises(ValueError, match=r"batches: \[1, 1, 1\] before, \[3\] now"):
        sample(trained.checkpoint, 3, batch_size=3, **options)


def test_a_checkpoint_is_exported_with_another_search(trained, tmp_path):
    out = tmp_path / "dense.safetensors"
    main(["export", str(trained.checkpoint), "--out", str(out), "--full-precision",
          "--reconstruction", "dense"])  # fmt: skip
    before, after = load_checkpoint(trained.checkpoint), load_checkpoint(out)
    assert after.model.search == Search.from_config(load_table("reconstruction/dense.yaml"))
    assert before.model.search.waves == 1 != after.model.search.waves
    assert before.digest != after.digest  # samples of the one are never added to the other's
    for name, tensor in before.model.state_dict().items():
        torch.testing.assert_close(after.model.state_dict()[name], tensor, rtol=0, atol=0)
    joint = load_checkpoint("carbon24-cds")
    with pytest.raises(ValueError, match="no search for coordinates"):
        export_checkpoint(joint, tmp_path / "joint.safetensors", reconstruction={})


def test_the_family_says_which_samplers_it_follows(trained):
    model = load_checkpoint(trained.checkpoint).model
    assert model.sampler("paper") == Sampler("ancestral", None)
    assert model.sampler("fast") == model.sampler() == Sampler("ancestral", model.num_steps)
    assert model.sampler(steps=5) == Sampler("ancestral", 5)
    assert model.sampler(solver="flow", steps=4) == Sampler("flow", 4)
    for sampler, message in (
        (Sampler(steps=5), "cannot make 'renewing' steps; choose the solver from"),
        (Sampler("ancestral", 5, corrector_steps=1), "has no corrector moves"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(trained.checkpoint, 1, sampler=sampler, progress=False)


def test_old_keywords_still_drop_what_the_family_lacks(trained):
    with pytest.warns(DeprecationWarning, match="steps, solver, renewal of sample"):
        (crystal,) = sample(
            trained.checkpoint, 1, steps=3, solver="renewing", renewal=0.5, progress=False
        )
    told = [crystal.info[name] for name in ("solver", "steps", "corrector_steps", "renewal")]
    assert told == ["renewing", 3, 0, 0.0]


def test_unknown_family_is_refused():
    config = compose_config(SMALL)
    config["model"] = "magic"
    with pytest.raises(ValueError, match="unknown model 'magic'"):
        build_model(config, DataStatistics.from_dataset(toy_set(4), ["energy"]))


def test_reconstruction_benchmark_leaves_everything_and_resumes(tmp_path):
    settings = Settings.resolve(
        "demo", out=tmp_path, num_samples=2, search="fast", descriptor="compact"
    )
    results = run_reconstruction(settings, progress=False)
    metrics = results.rows[0].metrics
    assert metrics["match_rate_struct"].value == 1.0
    assert metrics["match_rate"].value <= 1.0
    table = text_table(results)
    assert "match struct." in table
    assert "evaluator" not in table
    assert results.rows[0].details["evaluations_max"] > 100
    for name in ("results.json", "curve.json", "match_rate.png", "samples.extxyz", "table.csv"):
        assert (tmp_path / name).is_file()
    lines = (tmp_path / "crystals.jsonl").read_text().splitlines()
    assert len(lines) == 3
    (tmp_path / "crystals.jsonl").write_text("\n".join(lines[:2]) + "\n")
    again = run_reconstruction(settings, progress=False)
    assert again.rows[0].metrics == metrics
    assert (
        json.loads((tmp_path / "crystals.jsonl").read_text().splitlines()[2])["crystal"]
        == (json.loads(lines[2])["crystal"])
    )
    with pytest.raises(ValueError, match="other settings"):
        run_reconstruction(replace(settings, descriptor="paper"), progress=False)


def test_family_is_chosen_by_the_name_of_the_model(tmp_path):
    settings = Settings.resolve("demo", out=tmp_path)
    config = settings.training_config("structrepdiff-cdi")
    assert config["model"] == "structrepdiff"
    assert config["conditioner"]["_target_"].endswith("CDI")
    assert settings.training_config("cds")["model"] == "joint"
