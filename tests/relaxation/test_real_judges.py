"""CHGNet and SevenNet-0 in batches, against their own code."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation import RelaxSettings, find_judge, relax, single_points
from pyg_crysdiff.relaxation.potentials import GPA
from pyg_crysdiff.testing.potential import pair_point, toy_judge

pytestmark = pytest.mark.filterwarnings("ignore")
FAR = Crystal(4.2 * np.eye(3), [[0, 0, 0]], [55])  # no two bonds that make an angle
SALT = Crystal(
    5.9 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0], [0.52, 0.5, 0.5]], [11, 17]
)


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    small = [c for c in load_dataset("demo", "test").crystals() if len(c) <= 6]
    rng = np.random.default_rng(0)
    shaken = [replace(c, frac_coords=c.frac_coords + 0.02 * rng.normal(size=(len(c), 3)))
              for c in small[:4]]  # fmt: skip
    return [*shaken, FAR, SALT]


def check(points, references):
    for point, (energy, forces, stress) in zip(points, references, strict=True):
        assert point.energy / len(forces) == pytest.approx(energy, abs=2e-5)
        assert np.allclose(point.forces, forces, atol=2e-4)
        assert np.allclose(point.stress, stress, atol=2e-5)


def chgnet():
    pytest.importorskip("chgnet", reason="extra stability")
    from chgnet.model import CHGNet

    with redirect_stdout(StringIO()):
        return CHGNet.load(use_device="cpu", verbose=False)


def test_chgnet_says_what_its_own_code_says(crystals):
    model, references = chgnet(), []
    for crystal in crystals:
        found = model.predict_structure(crystal.to_structure(), task="efs")
        references.append((found["e"], found["f"], found["s"] * GPA))
    potential = find_judge("chgnet").potential()
    check(potential(crystals), references)
    check([potential([crystal])[0] for crystal in crystals], references)


def test_chgnet_relaxes_to_the_energies_of_its_own_optimiser():
    model = chgnet()
    from chgnet.model import StructOptimizer

    chosen = [SALT]
    with redirect_stdout(StringIO()):
        optimizer = StructOptimizer(model=model, use_device="cpu")
        for crystal, found in zip(chosen, relax(chosen, "chgnet", num_workers=0), strict=True):
            path = optimizer.relax(crystal.to_structure(), fmax=0.02, verbose=False)["trajectory"]
            assert found.converged
            assert found.energy == pytest.approx(float(path.energies[-1]) / 2, abs=1e-3)


def test_chgnet_sets_aside_what_it_cannot_judge():
    chgnet()
    lonely = Crystal(20 * np.eye(3), [[0, 0, 0]], [8])
    strange = Crystal(4 * np.eye(3), [[0, 0, 0]], [99])
    left = replace(
        SALT, lattice=SALT.lattice[[1, 0, 2]], frac_coords=SALT.frac_coords[:, [1, 0, 2]]
    )
    found = single_points([SALT, lonely, strange, left], "chgnet", num_workers=0)
    assert "no neighbour" in found[1].problem
    assert "does not know Es" in found[2].problem
    assert found[0].energy == pytest.approx(found[3].energy, abs=1e-5)
    assert found[0].judge == "chgnet 0.3.0"


def test_sevennet_says_what_its_own_calculator_says(crystals):
    pytest.importorskip("sevenn", reason="extra sevennet")
    from sevenn.calculator import SevenNetCalculator

    calculator, references = SevenNetCalculator("7net-0_11July2024", device="cpu"), []
    for crystal in crystals[:3]:
        atoms = crystal.to_ase()
        atoms.calc = calculator
        energy = atoms.get_potential_energy() / len(atoms)
        references.append((energy, atoms.get_forces(), atoms.get_stress(voigt=False)))
    potential = find_judge("sevennet").potential()
    check(potential(crystals[:3]), references)
    check([potential([crystal])[0] for crystal in crystals[:3]], references)
    assert potential.model.type_map.keys() == set(find_judge("sevennet").elements)


def test_sevennet_relaxes(crystals):
    pytest.importorskip("sevenn", reason="extra sevennet")
    (found,) = relax([SALT], "sevennet", RelaxSettings(fmax=0.05), num_workers=0)
    assert found.converged
    assert found.energy < found.energy_before
    assert found.judge == "sevennet 0 (11Jul2024)"


class TorchSimPairs:
    """The toy potential in the form of torch-sim's models."""

    def __init__(self, device):
        self.device, self.dtype = torch.device(device), torch.float64

    def __call__(self, state):
        points = []
        for i, cell in enumerate(state.row_vector_cell.numpy()):
            mine = (state.system_idx == i).numpy()
            frac = state.positions.numpy()[mine] @ np.linalg.inv(cell)
            points.append(pair_point(Crystal(cell, frac, state.atomic_numbers.numpy()[mine])))
        return {
            "energy": torch.tensor([p.energy for p in points]),
            "forces": torch.from_numpy(np.concatenate([p.forces for p in points])),
            "stress": torch.from_numpy(np.stack([p.stress for p in points])),
        }


def test_models_of_torch_sim_judge_too(crystals):
    pytest.importorskip("torch_sim", reason="torch-sim")
    judge = find_judge(f"torchsim:{__name__}.TorchSimPairs")
    for found, crystal in zip(judge.potential()(crystals), crystals, strict=True):
        point = pair_point(crystal)
        assert found.energy == pytest.approx(point.energy)
        assert np.allclose(found.forces, point.forces)
        assert np.allclose(found.stress, point.stress)
    (found,), (toy,) = (relax([SALT], j, num_workers=0) for j in (judge, toy_judge()))
    assert found.energy == pytest.approx(toy.energy, abs=1e-6)


def test_a_model_of_torch_sim_that_is_not_there():
    pytest.importorskip("torch_sim", reason="torch-sim")
    with pytest.raises(ModuleNotFoundError, match="no module ''"):
        find_judge("torchsim:mace")
