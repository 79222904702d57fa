"""What is written is right-handed, in one orientation, and the same crystal in every file."""

import ase.io
import numpy as np
import pytest
import torch

from pyg_crysdiff.data import read_crystals
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.parsing import canonical
from pyg_crysdiff.data.writers import crystal_to_cif, save_cdvae, write_extxyz
from pyg_crysdiff.sampling import symmetrised, write_symmetrised
from tests.conftest import make_crystal

# Of alpha-quartz, P3_2 21; its mirror image is P3_1 21.
QUARTZ = Crystal(
    [[4.9134, 0.0, 0.0], [-2.4567, 4.2551, 0.0], [0.0, 0.0, 5.4052]],
    [[0.4699, 0, 2 / 3], [0, 0.4699, 1 / 3], [0.5301, 0.5301, 0],
     [0.4141, 0.2681, 0.7854], [0.7319, 0.1460, 0.4521], [0.8540, 0.5859, 0.1187],
     [0.2681, 0.4141, 0.2146], [0.1460, 0.7319, 0.5479], [0.5859, 0.8540, 0.8813]],
    [14] * 3 + [8] * 6,
)  # fmt: skip
MIRROR = np.diag([1.0, 1.0, -1.0])


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def left_handed(crystal):
    """The same crystal with two of its vectors exchanged."""
    return Crystal(
        crystal.lattice[[1, 0, 2]], crystal.frac_coords[:, [1, 0, 2]], crystal.atomic_numbers
    )


def chirality(crystal):
    """Sum over atom quadruples of signed volumes, weighted so that order of atoms matters not.

    Of neighbours within 4 Angstrom; changes its sign under reflection.
    """
    shifts = np.array(list(np.ndindex(5, 5, 5))) - 2
    frac = crystal.frac_coords % 1.0
    total = 0.0
    for i, centre in enumerate(frac):
        bonds, kinds = [], []
        for j, other in enumerate(frac):
            for shift in shifts:
                bond = (other + shift - centre) @ crystal.lattice
                if 1e-3 < np.linalg.norm(bond) < 4.0:
                    bonds.append(bond)
                    kinds.append(crystal.atomic_numbers[j])
        b, w = np.array(bonds), np.array(kinds) * 1.0
        r = np.linalg.norm(b, axis=1)
        triple = np.einsum("ix,jkx->ijk", b, np.cross(b[:, None], b[None]))
        # Distances enter in three ways, without which the sum over equal triples cancels.
        weight = (w / r)[:, None, None] * np.exp(-r)[None, :, None] * (r**2)[None, None, :]
        total += crystal.atomic_numbers[i] * float((weight * triple).sum())
    return total


def distances(crystal):
    return np.sort(crystal.to_ase().get_all_distances(mic=True), axis=None)


def assert_standard(lattice, tolerance=0.0):
    assert np.abs(lattice[np.triu_indices(3, 1)]).max() <= tolerance
    assert (np.diag(lattice) > 0).all()


@pytest.fixture
def crystals(rng):
    """Left- and right-handed, turned at random, coordinates in and out of the cell."""
    out = []
    for k in range(12):
        crystal = make_crystal(rng, 4)
        lattice = crystal.lattice @ rotation(rng)
        lattice = lattice @ MIRROR if k % 2 else lattice
        frac = crystal.frac_coords + rng.integers(-1, 2, (4, 3))
        out.append(Crystal(lattice, frac, crystal.atomic_numbers, {"index": k}))
    return [*out, QUARTZ, left_handed(QUARTZ), Crystal(QUARTZ.lattice @ MIRROR,
            QUARTZ.frac_coords, QUARTZ.atomic_numbers)]  # fmt: skip


def test_the_same_crystal_in_one_orientation(crystals):
    for crystal in crystals:
        turned = crystal.oriented()
        assert_standard(turned.lattice)
        assert np.linalg.det(turned.lattice) > 0
        assert 0 <= turned.frac_coords.min() <= turned.frac_coords.max() < 1
        assert turned.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
        assert turned.info == crystal.info
        for a, b in zip(turned.parameters(), crystal.parameters(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        np.testing.assert_allclose(distances(turned), distances(crystal), atol=1e-9)
        assert chirality(turned) == pytest.approx(chirality(crystal), rel=1e-6)
        again = turned.oriented()
        assert again.digest() == turned.digest()


def test_a_chiral_crystal_does_not_become_its_enantiomer():
    mirrored = Crystal(QUARTZ.lattice @ MIRROR, QUARTZ.frac_coords, QUARTZ.atomic_numbers)
    assert abs(chirality(QUARTZ)) > 1.0
    assert chirality(mirrored) == pytest.approx(-chirality(QUARTZ))
    groups = [symmetrised(c, 0.01).info["space_group"] for c in (QUARTZ, left_handed(QUARTZ))]
    assert len(set(groups)) == 1
    other = symmetrised(mirrored.oriented(), 0.01).info["space_group"]
    assert {other, groups[0]} == {"P3_121", "P3_221"}


@pytest.mark.parametrize("niggli", [True, False])
def test_data_sets_do_not_mirror_left_handed_cells(niggli):
    found = [canonical(c, niggli=niggli) for c in (QUARTZ, left_handed(QUARTZ))]
    assert chirality(found[0]) == pytest.approx(chirality(QUARTZ))
    assert chirality(found[1]) == pytest.approx(chirality(QUARTZ))


def test_all_files_agree(crystals, tmp_path):
    write_extxyz(crystals[:5], tmp_path / "s.extxyz")
    write_extxyz(crystals[5:], tmp_path / "s.extxyz", append=True)
    save_cdvae(crystals, tmp_path / "s.pt")
    (tmp_path / "cif").mkdir()
    for k, crystal in enumerate(crystals):
        (tmp_path / "cif" / f"{k:02d}.cif").write_text(crystal_to_cif(crystal))
    for name in ("s.extxyz", "s.pt", "cif"):
        for found, crystal in zip(read_crystals(tmp_path / name), crystals, strict=True):
            same, expected = found.oriented(), crystal.oriented()
            np.testing.assert_allclose(same.lattice, expected.lattice, atol=2e-5)
            shift = same.frac_coords[:, None] - expected.frac_coords
            apart = np.abs(shift - shift.round()).max(-1)
            nearest = apart.argmin(1)  # pymatgen's reader of CIF sorts the atoms
            assert apart.min(1).max() < 1e-5
            assert sorted(nearest) == list(range(len(crystal)))
            assert (same.atomic_numbers == crystal.atomic_numbers[nearest]).all()
            assert name == "cif" or list(nearest) == sorted(nearest)
            assert chirality(found) == pytest.approx(chirality(crystal), rel=1e-3)
    tensors = torch.load(tmp_path / "s.pt", weights_only=True)
    assert 0 <= tensors["frac_coords"].min() <= tensors["frac_coords"].max() < 1


def test_poscar_files_of_ase_have_a_positive_determinant(crystals, tmp_path):
    write_extxyz(crystals, tmp_path / "s.extxyz")
    for k, frame in enumerate(ase.io.read(tmp_path / "s.extxyz", ":")):
        assert_standard(frame.cell.array)
        ase.io.write(tmp_path / "POSCAR", frame, format="vasp", sort=True)
        lines = (tmp_path / "POSCAR").read_text().splitlines()
        lattice = np.array([line.split() for line in lines[2:5]], dtype=float)
        assert np.linalg.det(lattice) > 0
        expected = sorted(map(str, crystals[k].to_structure().symbol_set))
        assert sorted(lines[5].split()) == expected  # each species stands once


@pytest.mark.parametrize(
    "lattice",
    [
        np.full((3, 3), np.nan),
        np.diag([3.0, np.inf, 3.0]),
        np.zeros((3, 3)),
        [[3, 0, 0], [0, 3, 0], [3, 3, 0]],  # flat
        [[1, 2, 3], [2, 4, 6], [0, 0, 1]],  # two vectors along one line
        np.diag([1e200, -1e200, 1e-200]),
    ],
)
def test_cells_that_are_none_pass_unharmed(lattice, tmp_path):
    crystal = Crystal(lattice, [[0.1, 0.2, np.nan], [-1e-20, 1.5, np.inf]], [6, 8], {"index": 1})
    found = crystal.oriented()
    with np.errstate(over="ignore"):
        for a, b in zip(found.parameters(), crystal.parameters(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.isnan(found.frac_coords[0, 2])
    assert np.isinf(found.frac_coords[1, 2])
    write_extxyz([crystal], tmp_path / "s.extxyz")
    save_cdvae([crystal], tmp_path / "s.pt")
    assert "not a structure" in crystal_to_cif(crystal)


def test_symmetrised_copies_are_right_handed(tmp_path):
    for k, crystal in enumerate((left_handed(QUARTZ), QUARTZ)):
        (copy,) = write_symmetrised([crystal], tmp_path / str(k), 0.01)
        assert_standard(copy.lattice)
        assert chirality(copy) == pytest.approx(chirality(crystal), rel=1e-3)
        for name in ("symmetrised.extxyz", "symmetrised"):
            (found,) = read_crystals(tmp_path / str(k) / name)
            assert chirality(found) == pytest.approx(chirality(crystal), rel=1e-3)
