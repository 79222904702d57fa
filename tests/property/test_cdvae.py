import numpy as np
import pytest
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.analysis.local_env import CrystalNN
from pymatgen.core import Lattice, Structure

from pyg_crysdiff.data import Crystal, load_dataset
from pyg_crysdiff.property.cdvae import load_cdvae_evaluator
from pyg_crysdiff.property.graphs import bonds, build_graph
from pyg_crysdiff.property.model import PropertyModel
from tests.conftest import make_crystal
from tests.property.conftest import CONFIG, HPARAMS


def test_conversion_keeps_predictions_and_executes_nothing(folder, network, rng, tmp_path):
    crystals = [make_crystal(rng, n) for n in (2, 3, 5)]
    ours = load_cdvae_evaluator(folder)
    expected = PropertyModel(network, CONFIG, -3.0, 2.0, {"property": "energy_per_atom"})
    assert ours.property_name == "energy_per_atom"
    assert np.array_equal(ours.predict(crystals), expected.predict(crystals))
    ours.save(tmp_path / "kept.safetensors")
    kept = PropertyModel.load(tmp_path / "kept.safetensors")
    assert np.array_equal(kept.predict(crystals), expected.predict(crystals))


def test_missing_damaged_and_other_models_are_named(folder):
    (folder / "hparams.yaml").write_text(HPARAMS % "true")
    with pytest.raises(ValueError, match="only DimeNet\\+\\+ on CrystalNN graphs"):
        load_cdvae_evaluator(folder)
    (folder / "hparams.yaml").write_text(
        HPARAMS.replace("num_blocks: 1", "num_blocks: 2") % "false"
    )
    with pytest.raises(ValueError, match="does not fit its hparams"):
        load_cdvae_evaluator(folder)
    (folder / "hparams.yaml").write_text(HPARAMS % "false")
    newest = folder / "epoch=12-step=9.ckpt"
    newest.write_bytes(newest.read_bytes()[:-500])
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_cdvae_evaluator(folder)
    (folder / "prop_scaler.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"it lacks prop_scaler\.pt"):
        load_cdvae_evaluator(folder)


def test_bonds_of_rock_salt_are_its_six_neighbours_both_ways():
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]
    ).get_primitive_structure()
    crystal = Crystal.from_structure(salt)
    i, j, vectors = bonds(crystal)
    assert np.bincount(i).tolist() == [6, 6]
    assert (i != j).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 2.82)
    graph = build_graph(crystal, (i, j, vectors), same_atom_is_back=True)
    # every k -> j -> i has k = i up to an image here, so CDVAE's rule leaves no triplet
    assert len(graph.angle) == 0
    assert len(build_graph(crystal, (i, j, vectors)).angle) == 12 * 5


def pymatgen_bonds(crystal):
    """The edges of ``build_crystal_graph`` in CDVAE's ``data_utils.py``, both ways."""
    cell = Lattice.from_parameters(*np.concatenate(crystal.parameters()))
    structure = Structure(cell, crystal.atomic_numbers.tolist(), crystal.frac_coords % 1.0)
    strategy = CrystalNN(distance_cutoffs=None, x_diff_weight=-1, porous_adjustment=False)
    graph = StructureGraph.from_local_env_strategy(structure, strategy).graph
    edges = [(a, b, np.array(image)) for a, b, image in graph.edges(data="to_jimage")]
    edges += [(b, a, -image) for a, b, image in edges]
    at, matrix = structure.cart_coords, structure.lattice.matrix
    return as_set((a, b, at[b] + image @ matrix - at[a]) for a, b, image in edges)


def as_set(edges):
    edges = list(edges)
    found = {(int(a), int(b), *(np.round(vector, 4) + 0.0)) for a, b, vector in edges}
    assert len(found) == len(edges)  # none twice
    return found


@pytest.mark.filterwarnings("ignore")
def test_bonds_are_those_of_pymatgen(rng):
    demo = load_dataset("demo", "test").crystals()[:5]
    carbon = [make_crystal(rng, n, (6,)) for n in (1, 2, 6)]
    for crystal in [*demo, *carbon, *(make_crystal(rng, n) for n in (1, 2, 4, 7))]:
        i, j, vectors = bonds(crystal)
        assert (np.diff(i) >= 0).all()
        assert as_set(zip(i, j, vectors, strict=True)) == pymatgen_bonds(crystal)


def test_atoms_without_bonds_give_no_edges():
    lonely = Crystal(np.eye(3) * 40.0, np.zeros((1, 3)), np.array([2]))
    assert bonds(lonely) is None
