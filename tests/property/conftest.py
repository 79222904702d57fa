"""A small evaluator in the files that CDVAE's training leaves."""

import pytest
import torch

from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet

CONFIG = EvaluatorConfig(
    hidden_channels=16, num_blocks=1, int_emb_size=8, basis_emb_size=4, out_emb_channels=16,
    num_spherical=3, num_radial=4, cutoff=7.0, max_neighbours=20, graph="crystalnn",
    output_bias=True,
)  # fmt: skip
HPARAMS = """
data: {prop: energy_per_atom, num_targets: 1, readout: mean, otf_graph: %s,
  root_path: "${oc.env:NOT_SET_ANYWHERE}/data"}
model:
  _target_: cdvae.pl_modules.model.CrystGNN_Supervise
  encoder: {_target_: cdvae.pl_modules.gnn.DimeNetPlusPlusWrap, num_targets: "${data.num_targets}",
    hidden_channels: 16, num_blocks: 1, int_emb_size: 8, basis_emb_size: 4, out_emb_channels: 16,
    num_spherical: 3, num_radial: 4, otf_graph: "${data.otf_graph}", cutoff: 7.0,
    max_num_neighbors: 20, readout: "${data.readout}"}
"""


class Scaler:
    """Stands for CDVAE's class, which nobody needs to import."""

    def __init__(self, means, stds):
        self.means, self.stds = means, stds


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.fixture
def network():
    torch.manual_seed(0)
    found = PeriodicDimeNet(CONFIG)
    for block in found.output_blocks:
        torch.nn.init.normal_(block.lin.weight)
        torch.nn.init.normal_(block.lin_up.bias)
    return found


@pytest.fixture
def folder(tmp_path, network):
    (tmp_path / "hparams.yaml").write_text(HPARAMS % "false")
    weights = {f"encoder.{k}": v for k, v in network.state_dict().items()}
    other = {k: torch.zeros_like(v) for k, v in weights.items()}
    torch.save({"state_dict": other}, tmp_path / "epoch=5-step=9.ckpt")
    content = {"state_dict": weights, "hyper_parameters": Scaler(1, 2), "callbacks": {Bomb: Bomb()}}
    torch.save(content, tmp_path / "epoch=12-step=9.ckpt")
    torch.save(Scaler(torch.tensor(-3.0), torch.tensor(2.0)), tmp_path / "prop_scaler.pt")
    return tmp_path
