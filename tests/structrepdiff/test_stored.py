"""Representations and space groups are computed once."""

import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.structrepdiff import Representation, stored
from pyg_crysdiff.structrepdiff.symmetry import group_frequencies
from tests.helpers import toy_set

EAD = {"L": [0], "eta": [1.0, 8.0], "centres": [1.0, 4.0, 0.5], "cutoff": 6.0}


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """The calls that compute, with a cache of its own and nothing too small for it."""
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(stored, "_FEW", 3)
    calls = []
    compute = stored._computed
    monkeypatch.setattr(stored, "_computed", lambda *a: calls.append(len(a[1])) or compute(*a))
    return calls


def files():
    return sorted((cache_folder() / "representations").glob("*"))


def test_the_second_time_they_are_read(counted):
    data = toy_set(70)
    representation = Representation(sorted(set(data._data.atomic_numbers.tolist())), EAD)
    expected = torch.cat([representation(Batch.from_data_list([d])) for d in data])
    for _ in range(2):
        found = stored.representations(representation, data, progress=False)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert counted == [70]
    assert len(files()) == 1
    found[0] = 0  # a mapped file is not written to
    torch.testing.assert_close(
        stored.representations(representation, data, progress=False), expected, rtol=1e-4, atol=1e-4
    )
    assert counted == [70]


def test_other_crystals_settings_and_damage_are_computed_anew(counted):
    data = toy_set(6)
    elements = sorted(set(data._data.atomic_numbers.tolist()))
    first = Representation(elements, EAD)
    stored.representations(first, data, progress=False)
    stored.representations(first, data[:5], progress=False)
    stored.representations(Representation(elements, EAD, root=False), data, progress=False)
    stored.representations(Representation(elements, {**EAD, "cutoff": 5.0}), data, progress=False)
    assert counted == [6, 5, 6, 6]
    assert len(files()) == 4
    for file in files():
        file.write_bytes(file.read_bytes()[:100])
    again = stored.representations(first, data, progress=False)
    assert again.shape == (6, first.dim)
    assert counted == [6, 5, 6, 6, 6]
    stored.representations(first, data[:3], progress=False)  # too few to be kept
    assert len(files()) == 4


def test_space_groups_are_counted_once(counted, monkeypatch):
    data = toy_set(6)
    expected = group_frequencies([Crystal.from_data(d) for d in data])
    calls = []

    def count(crystals, symprec):
        calls.append(symprec)
        return group_frequencies(crystals, symprec)

    monkeypatch.setattr(stored, "group_frequencies", count)
    for _ in range(2):
        assert stored.group_counts(data, progress=False) == expected
    assert calls == [0.1]
    # Another tolerance, other crystals, a damaged file.
    stored.group_counts(data, 0.01, progress=False)
    assert sum(stored.group_counts(data[:5], progress=False).values()) == 5
    assert calls == [0.1, 0.01, 0.1]
    for file in files():
        file.write_bytes(file.read_bytes()[:100])
    assert stored.group_counts(data, progress=False) == expected
    assert len(calls) == 4
    stored.group_counts(data[:3], progress=False)  # too few to be kept
    assert len(files()) == 3
