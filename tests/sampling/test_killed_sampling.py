"""Sampling that is killed at any moment and started again equals sampling that was not."""

import hashlib

import pytest
import torch

from pyg_crysdiff.training import train
from tests.helpers import small_config, toy_sets
from tests.kills import assert_survives_kills


def outcome(folder):
    """Every byte for people, and every tensor."""
    files = [folder / "samples.extxyz", *sorted((folder / "cif").iterdir())]
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    tensors = torch.load(folder / "samples.pt", weights_only=True)
    return digests, {k: v if isinstance(v, str) else v.tolist() for k, v in tensors.items()}


@pytest.mark.slow
def test_killed_sampling_goes_on(tmp_path):
    config = small_config(max_epochs=1)
    checkpoint = train(config, tmp_path / "run", data=toy_sets(), progress=False).checkpoint
    # Steps cost little here, so that many moments lie within the writing of parts and exports.
    words = ["crysdiff", "sample", "--checkpoint", checkpoint, "-n", 48, "--steps", 3,
             "--batch-size", 4, "--device", "cpu", "--precision", "32-true"]  # fmt: skip
    (tmp_path / "work").mkdir()
    assert_survives_kills(lambda out: [*words, "--out", out], outcome, tmp_path / "work")
