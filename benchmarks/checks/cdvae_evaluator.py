"""Compare a converted CDVAE property evaluator with CDVAE's own code on real crystals.

    python benchmarks/checks/cdvae_evaluator.py CHECKOUT --data-root DATA

Builds CDVAE's ``CrystGNN_Supervise`` from an unmodified checkout, by default with random weights,
writes it as CDVAE's training does, and compares the predictions of CDVAE's ``prop_model_eval`` path
with those of the converted model.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch_geometric.loader import DataLoader

from pyg_crysdiff.baselines.shims import install_shims
from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.property.cdvae import load_cdvae_evaluator


def main() -> None:
    """Run the comparison; exit status 1 where one differs by more than 1e-4 of the spread."""
    parser = argparse.ArgumentParser(description="Converted CDVAE evaluator against CDVAE itself.")
    parser.add_argument("checkout", type=Path, help="checkout")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--dataset", default="carbon24")
    parser.add_argument("--num", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dataset = load_dataset(args.dataset, "test", source=args.data_root, scheme="official")
    crystals = dataset.crystals()[: args.num]
    with tempfile.TemporaryDirectory() as folder:
        theirs = _theirs(args.checkout.resolve(), Path(folder), crystals, args.seed)
        ours = load_cdvae_evaluator(folder).predict(crystals)
    error = np.abs(ours - theirs).max() / theirs.std()
    print(f"{len(crystals)} crystals of {dataset.display_name}, seed {args.seed}")
    print(f"CDVAE's predictions: {theirs.min():.6f} to {theirs.max():.6f}")
    worst = np.abs(ours - theirs).max()
    print(f"largest difference: {worst:.2e}, {error:.2e} of their spread")
    sys.exit(0 if error < 1e-4 else 1)


def _theirs(checkout: Path, folder: Path, crystals: list, seed: int) -> np.ndarray:
    """Write a random CDVAE evaluator to ``folder`` and return its predictions."""
    install_shims("cpu")
    os.environ.update(PROJECT_ROOT=str(checkout), HYDRA_JOBS=str(folder), WABDB_DIR=str(folder))
    sys.path[:0] = [str(checkout)]
    torch.manual_seed(seed)
    with initialize_config_dir(str(checkout / "conf"), version_base="1.1"):
        config = compose("default", overrides=["model=supervise", "data=carbon"])
    parts = {"optim": config.optim, "data": config.data, "logging": config.logging}
    model = instantiate(config.model, **parts, _recursive_=False).eval()
    for block in model.encoder.output_blocks:  # zero at the start: nothing to compare
        torch.nn.init.normal_(block.lin.weight, std=0.1)
    scalers = importlib.import_module("cdvae.common.data_utils")
    datasets = importlib.import_module("cdvae.pl_data.dataset")

    scaler = scalers.StandardScalerTorch(torch.tensor(-0.21), torch.tensor(0.37))
    (folder / "hparams.yaml").write_text(OmegaConf.to_yaml(config))
    hyper = dict(model.hparams)
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyper, "epoch": 7},
               folder / "epoch=7-step=99.ckpt")  # fmt: skip
    torch.save(scaler, folder / "prop_scaler.pt")
    cells = [c.parameters() for c in crystals]
    arrays = [
        {
            "frac_coords": c.frac_coords, "atom_types": c.atomic_numbers,
            "lengths": cell[0], "angles": cell[1],
        }
        for c, cell in zip(crystals, cells, strict=True)
    ]  # fmt: skip
    data = datasets.TensorCrystDataset(arrays, True, False, "crystalnn", 1, "scale_length")
    with torch.no_grad():
        found = [scaler.inverse_transform(model(b)) for b in DataLoader(data, batch_size=16)]
    return torch.cat(found).double().squeeze(1).numpy()


if __name__ == "__main__":
    main()
