"""Training that is killed at any moment and started again equals training that was not."""

import hashlib

import pytest
import torch

from pyg_crysdiff.property.model import PropertyModel
from tests.helpers import metrics
from tests.kills import assert_survives_kills

TINY = [
    "data=demo", "train_fraction=0.1", "denoiser.dim=8", "denoiser.num_blocks=1",
    "denoiser.num_waves=2", "denoiser.pair_hidden=4", "process.num_steps=20", "batch_size=16",
    "max_epochs=12", "validate_every=2", "keep_every=3", "device=cpu", "precision=32-true",
]  # fmt: skip


def outcome(folder):
    """Weights, their average, metrics but for the time, and what was kept along the way."""
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    digest = hashlib.sha256()
    for part in ("state_dict", "current_model_state"):
        for name, value in sorted(saved[part].items()):
            digest.update(name.encode() + value.numpy().tobytes())
    kept = {p.name: p.read_bytes() for p in (folder / "kept").glob("*.safetensors")}
    return digest.hexdigest(), saved["global_step"], metrics(folder).to_csv(), kept


@pytest.mark.slow
def test_killed_training_goes_on(tmp_path):
    assert_survives_kills(lambda out: ["crysdiff", "train", *TINY, "--out", out], outcome, tmp_path)


@pytest.mark.slow
def test_killed_training_of_an_evaluator_goes_on(tmp_path):
    words = ["demo", "--preset", "fast", "--part", "val", "--max-epochs", 12, "--device", "cpu"]
    assert_survives_kills(
        lambda out: ["crysdiff", "train-evaluator", *words, "--out", out],
        lambda folder: predictor_digest(folder / "evaluator.safetensors"),
        tmp_path,
    )


def predictor_digest(path):
    """Weights and what is known of them, but for the time that they took."""
    model = PropertyModel.load(path)
    model.card.pop("training_seconds")
    digest = hashlib.sha256(repr((sorted(model.card.items()), model.mean, model.std)).encode())
    for _, value in sorted(model.network.state_dict().items()):
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
