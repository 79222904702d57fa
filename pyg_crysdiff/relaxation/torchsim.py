"""Models of torch-sim as potentials: Cohen et al., arXiv 2508.06628.

Only their energies, forces and stresses are used: the relaxation is that of this package, since
torch-sim's default test of convergence ignores the forces on the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.potentials import Point

SEVENNET = "sevennet"


class TorchSimPotential:
    """A model of torch-sim on a device.

    Args:
        name: ``sevennet``, or ``module.function`` of a function that takes a ``device`` and returns
            a model (``torch_sim.models.interface.ModelInterface``) with forces and stress.
        device: Device of PyTorch.

    Raises:
        ModuleNotFoundError: If SevenNet's model does not fit the installed torch-sim.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        if name == SEVENNET:
            self.model: Any = _sevennet(device)
        else:
            module, _, function = name.rpartition(".")
            self.model = getattr(import_module(module), function)(device=device)

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of crystals."""
        import torch_sim  # noqa: PLC0415

        atoms = [crystal.to_ase() for crystal in crystals]
        state = torch_sim.initialize_state(atoms, self.model.device, self.model.dtype)
        found = self.model(state)
        energy, force, stress = (
            found[key].detach().cpu().double().numpy() for key in ("energy", "forces", "stress")
        )
        ends = np.cumsum([len(c) for c in crystals])[:-1]
        return [
            Point(float(energy[i]), part, stress[i]) for i, part in enumerate(np.split(force, ends))
        ]


def _sevennet(device: str) -> Any:
    try:
        from sevenn.torchsim import SevenNetModel  # noqa: PLC0415
    except ImportError as error:
        raise ModuleNotFoundError(
            "torchsim:sevennet needs sevenn 0.12 or newer and a torch-sim that it knows (0.6, "
            "Python 3.12): pip install sevenn torch-sim-atomistic; the judge sevennet is the same "
            "potential without it"
        ) from error
    return SevenNetModel("7net-0_11July2024", device=device)
