"""CHGNet in batches: Deng et al., Nature Machine Intelligence 5, 1031 (2023), arXiv 2302.14231.

The weights are those in CHGNet's wheel. Graphs of all crystals are made with array operations and
joined, and forces and stress come from one derivative; CHGNet's calculator makes each graph in
Python and derives twice, with a graph of the derivatives that only a training needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.chgnet_network import Graphs, Network
from pyg_crysdiff.relaxation.neighbours import Neighbours, find_neighbours
from pyg_crysdiff.relaxation.potentials import Point

VERSION = "0.3.0"


class CHGNetPotential:
    """CHGNet on a device.

    Args:
        device: Device of PyTorch.
    """

    def __init__(self, device: str = "cpu") -> None:
        from chgnet.model import CHGNet  # noqa: PLC0415

        self.device = device
        with redirect_stdout(StringIO()):  # it prints its version
            model: Any = CHGNet.load(model_name=VERSION, use_device=device, verbose=False)
        self.model = model.eval().requires_grad_(False)
        self.network = Network(self.model)

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of right-handed crystals."""
        converter = self.model.graph_converter
        graphs = [
            graph_of(c, converter.atom_graph_cutoff, converter.bond_graph_cutoff) for c in crystals
        ]
        joined, positions, strain = self._joined(crystals, graphs)
        energies = self.network.energies(joined, len(crystals))
        gradient, virial = torch.autograd.grad(energies.sum(), [positions, strain])
        return _points(crystals, energies.detach() + self._reference(crystals), -gradient, virial)

    def _joined(
        self, crystals: Sequence[Crystal], graphs: Sequence[_Graph]
    ) -> tuple[Graphs, torch.Tensor, torch.Tensor]:
        """Join graphs; beside them stands what the energy is derived by."""
        index = {
            name: self._tensor(array)
            for name, array in _join(graphs, [len(c) for c in crystals]).items()
        }
        owner, pairs, angles = index["owner"], index["pairs"], index["angles"]
        cart = np.concatenate([c.frac_coords @ c.lattice for c in crystals])
        positions = self._tensor(cart.astype(np.float32)).requires_grad_()
        lattice = self._tensor(np.stack([c.lattice for c in crystals]).astype(np.float32))
        strain = torch.zeros_like(lattice, requires_grad=True)
        deformation = torch.eye(3, device=strain.device) + strain
        strained = torch.einsum("ni,nij->nj", positions, deformation[owner])
        center, other = pairs[:, 0], pairs[:, 1]
        shift = torch.einsum("ei,eij->ej", index["image"], (lattice @ deformation)[owner[center]])
        vectors = strained.index_select(0, center) - strained.index_select(0, other) - shift
        lengths = torch.linalg.norm(vectors, dim=1)
        units = vectors / lengths[:, None]
        expand = self.model.bond_basis_expansion
        bonds = lengths.index_select(0, index["one_way"])
        joined = Graphs(
            numbers=self._tensor(np.concatenate([c.atomic_numbers for c in crystals])),
            owner=owner,
            pairs=pairs,
            bond_of_pair=index["bond_of_pair"],
            long_bonds=expand.rbf_expansion_ag(bonds),
            short_bonds=expand.rbf_expansion_bg(bonds),
            angles=angles[:, [0, 2, 4]],
            angle_basis=self.model.angle_basis_expansion(
                units.index_select(0, angles[:, 1]), units.index_select(0, angles[:, 3])
            ),
        )
        return joined, positions, strain

    def _reference(self, crystals: Sequence[Crystal]) -> torch.Tensor:
        """CHGNet's linear part, a sum over elements, (B,), eV."""
        model = self.model.composition_model
        if model is None:
            return torch.zeros(len(crystals), device=self.device)
        counts = np.stack([np.bincount(c.atomic_numbers - 1, minlength=94) for c in crystals])
        sizes = counts.sum(1, keepdims=True)
        shares = self._tensor((counts / sizes).astype(np.float32))
        energy: torch.Tensor = model._get_energy(shares) * self._tensor(sizes[:, 0])
        return energy

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class _Graph(NamedTuple):
    """Atoms, bonds and angles of one crystal.

    Attributes:
        pairs: Directed pairs of atoms, (E, 2).
        image: Cell of the second, (E, 3).
        bond_of_pair: Undirected bond of each pair, (E,).
        one_way: One of the two pairs of each bond, (E/2,).
        angles: Atom, first pair, its bond, second pair, its bond; (A, 5).
    """

    pairs: NDArray[np.int64]
    image: NDArray[np.int64]
    bond_of_pair: NDArray[np.int64]
    one_way: NDArray[np.int64]
    angles: NDArray[np.int64]


def graph_of(crystal: Crystal, atom_cutoff: float, bond_cutoff: float) -> _Graph:
    """Return the graph that CHGNet's converter makes, up to the order of pairs and angles."""
    near = find_neighbours(crystal, atom_cutoff)
    bond_of_pair, one_way = _bonds(near, len(crystal))
    first, second = _pairs_at_one_atom(near.center, near.length < bond_cutoff)
    angles = [near.center[first], first, bond_of_pair[first], second, bond_of_pair[second]]
    pairs = np.stack([near.center, near.other], axis=1)
    return _Graph(pairs, near.image, bond_of_pair, one_way, np.stack(angles, axis=1))


def _bonds(near: Neighbours, num_atoms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bond of each directed pair, and one pair of each bond."""
    most = int(np.abs(near.image).max(initial=0))
    base = 2 * most + 1
    cells = (near.image + most) @ np.array([base * base, base, 1])
    reverse = base**3 - 1 - cells
    there = (near.center * num_atoms + near.other) * base**3 + cells
    back = (near.other * num_atoms + near.center) * base**3 + reverse
    _, one_way, bond_of_pair = np.unique(
        np.minimum(there, back), return_index=True, return_inverse=True
    )
    return bond_of_pair.reshape(-1), one_way


def _pairs_at_one_atom(
    center: NDArray[np.int64], short: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all ordered pairs of different short bonds that start at the same atom."""
    chosen = np.flatnonzero(short)
    chosen = chosen[np.argsort(center[chosen], kind="stable")]
    _, start, count = np.unique(center[chosen], return_index=True, return_counts=True)
    partners = np.repeat(count, count)
    first = np.repeat(np.arange(len(chosen)), partners)
    begin = np.repeat(np.repeat(start, count), partners)
    ends = np.cumsum(partners)
    second = begin + np.arange(len(first)) - np.repeat(ends - partners, partners)
    different = first != second
    return chosen[first[different]], chosen[second[different]]


def _join(graphs: Sequence[_Graph], sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Join graphs into one, with the indices of each shifted."""
    atoms = np.cumsum([0, *sizes])
    pairs = np.cumsum([0, *(len(g.pairs) for g in graphs)])
    bonds = np.cumsum([0, *(len(g.one_way) for g in graphs)])
    shifts = [
        np.array([atoms[i], pairs[i], bonds[i], pairs[i], bonds[i]]) for i in range(len(graphs))
    ]
    return {
        "owner": np.repeat(np.arange(len(sizes)), sizes),
        "pairs": np.concatenate([g.pairs + atoms[i] for i, g in enumerate(graphs)]),
        "image": np.concatenate([g.image for g in graphs]).astype(np.float32),
        "bond_of_pair": np.concatenate([g.bond_of_pair + bonds[i] for i, g in enumerate(graphs)]),
        "one_way": np.concatenate([g.one_way + pairs[i] for i, g in enumerate(graphs)]),
        "angles": np.concatenate([g.angles + shifts[i] for i, g in enumerate(graphs)]),
    }


def _points(
    crystals: Sequence[Crystal],
    energies: torch.Tensor,
    forces: torch.Tensor,
    virials: torch.Tensor,
) -> list[Point]:
    energy, force, virial = (x.cpu().double().numpy() for x in (energies, forces, virials))
    ends = np.cumsum([len(c) for c in crystals])[:-1]
    return [
        Point(float(energy[i]), part, virial[i] / c.volume)
        for i, (c, part) in enumerate(zip(crystals, np.split(force, ends), strict=True))
    ]
