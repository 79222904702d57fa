"""kill -9 at random moments: ``evaluate`` and the benchmark go on to the same results."""

import json
from pathlib import Path

import pytest
import torch

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from tests.kills import assert_survives_kills

# Wall times, what holds them (a checkpoint), and names of folders.
_FREE = {"seconds", "training_seconds", "sampling_seconds", "checkpoint", "command", "out"}


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in _FREE}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def _outcome(folder: Path):
    """Return results and tables, without wall times and names of folders."""
    text = (folder / "results.json").read_text().replace(folder.name, "OUT")
    tables = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.csv")}
    tables = {k: v for k, v in tables.items() if not k.endswith("metrics.csv")}  # has wall times
    assert tables
    assert not list(folder.rglob("*.tmp*"))
    return _without_times(json.loads(text)), tables


def _judge(path: Path, mean: float = -1.5) -> Path:
    """Write a small property model of random weights."""
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    torch.manual_seed(0)
    network = PeriodicDimeNet(config)
    for output in network.output_blocks:  # zero at the start: all predictions alike
        torch.nn.init.normal_(output.lin.weight)
    card = {"property": "formation_energy_per_atom", "held_out_mae": 9.0, "num_held_out": 1}
    PropertyModel(network, config, mean, 1.0, card).save(path)
    return path


@pytest.mark.slow
def test_evaluate(tmp_path):
    crystals = load_dataset("demo", "test").crystals()
    files = [tmp_path / "a.extxyz", tmp_path / "b.extxyz"]
    for k, file in enumerate(files):
        write_extxyz(crystals[20 * k : 20 * k + 20], file)

    def command(out):
        words = ["crysdiff", "evaluate", *files, "--reference", files[1], "--cutoffs", "0.4", "10"]
        return [*words, "--bootstrap", "200", "--workers", "0", "--out", out]

    assert_survives_kills(command, _outcome, tmp_path)


@pytest.mark.slow
def test_benchmark(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "run.py"
    tiny = [
        "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2",
        "denoiser.pair_hidden=4", "max_epochs=2", "process.num_steps=20", "batch_size=128",
        "train_fraction=0.2",
    ]  # fmt: skip

    judge = _judge(tmp_path / "judge.safetensors")
    chooser = _judge(tmp_path / "chooser.safetensors", mean=-1.0)

    def command(out):
        words = [script, "--models", "cdi", "--device", "cpu", "--num-samples", "10"]
        words += ["--steps", "3", "--draws", "2", "--no-coverage", "--budget", "30"]
        words += ["--evaluator", judge, "--predictor", chooser, "--out", out]
        return [*words, *(part for override in tiny for part in ("--set", override))]

    assert_survives_kills(command, _outcome, tmp_path)
