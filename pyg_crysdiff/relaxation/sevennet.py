"""SevenNet-0 in batches: Park et al., J. Chem. Theory Comput. 20, 4857 (2024), arXiv 2402.03789.

The weights (version of 11 July 2024) come with its wheel; the elements are those of MPtrj.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.neighbours import find_neighbours
from pyg_crysdiff.relaxation.potentials import Point

_NAME = "7net-0_11July2024"
_FULL = np.array([[0, 3, 5], [3, 1, 4], [5, 4, 2]])  # of xx, yy, zz, xy, yz, zx


class SevenNetPotential:
    """SevenNet-0 on a device.

    Args:
        device: Device of PyTorch.
    """

    def __init__(self, device: str = "cpu") -> None:
        from sevenn.util import load_checkpoint  # noqa: PLC0415

        self.device = device
        self.model = load_checkpoint(_NAME).build_model().to(device)
        self.model.eval().requires_grad_(False)
        self.model.set_is_batch_data(True)

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of right-handed crystals."""
        found = self.model(self._joined(crystals))
        energy, force, stress = (
            found[name].detach().cpu().double().numpy()
            for name in ("inferred_total_energy", "inferred_force", "inferred_stress")
        )
        ends = np.cumsum([len(c) for c in crystals])[:-1]
        return [
            Point(float(energy[i]), part, -stress[i][_FULL])
            for i, part in enumerate(np.split(force, ends))
        ]

    def _joined(self, crystals: Sequence[Crystal]) -> dict[str, torch.Tensor]:
        """Join graphs under the names of ``sevenn._keys``."""
        near = [find_neighbours(c, float(self.model.cutoff)) for c in crystals]
        sizes = np.array([len(c) for c in crystals])
        starts = np.cumsum(sizes) - sizes
        pairs = [np.stack([n.center, n.other]) + s for n, s in zip(near, starts, strict=True)]
        vectors = [n.vectors(c) for n, c in zip(near, crystals, strict=True)]
        numbers = np.concatenate([c.atomic_numbers for c in crystals])
        arrays = {
            "x": numbers,
            "atomic_numbers": numbers,
            "pos": np.concatenate([c.frac_coords @ c.lattice for c in crystals]),
            "edge_index": np.concatenate(pairs, axis=1),
            "edge_vec": np.concatenate(vectors),
            "cell_volume": np.array([c.volume for c in crystals]),
            "num_atoms": sizes,
            "batch": np.repeat(np.arange(len(sizes)), sizes),
        }
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
