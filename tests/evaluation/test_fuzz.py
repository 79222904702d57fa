"""Mutated sample files: a clear ``ValueError`` or a score, never a crash or a hang."""

import gzip
import io
import json
import zipfile
from datetime import timedelta
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif, save_cdvae, write_extxyz
from pyg_crysdiff.evaluation.fingerprints import fingerprint_crystals
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from tests.conftest import make_crystal

TOKENS = [
    b"nan", b"inf", b"-1", b"0", b"1e308", b"1e-308", b"999999999999", b"", b"Xx", b"Og", b"\x00",
    b"'", b'"', b",", b"\n", b"loop_", b"{}", b"[", b"null", b"\xff\xfe", b"D", b"Vac", b"Fe2+",
]  # fmt: skip
VALUES = [float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-30, 0.5, 119.0, 118.0, 1e-3, 179.99]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One good file of every format, three crystals each, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    crystals = [make_crystal(rng, n) for n in (1, 3, 4)]
    save_cdvae(crystals, folder / "a.pt")
    write_extxyz(crystals, folder / "a.extxyz")
    cifs = [crystal_to_cif(c) for c in crystals]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as handle:
        for i, text in enumerate(cifs):
            handle.writestr(f"{i}.cif", text)
    table = "material_id,cif\n" + "".join(f'{i},"{t}"\n' for i, t in enumerate(cifs))
    dicts = json.dumps([c.to_structure().as_dict() for c in crystals])
    return {
        "a.pt": (folder / "a.pt").read_bytes(),
        "a.extxyz": (folder / "a.extxyz").read_bytes(),
        "a.cif": "\n".join(cifs).encode(),
        "a.zip": archive.getvalue(),
        "a.csv": table.encode(),
        "a.json": dicts.encode(),
        "a.json.gz": gzip.compress(dicts.encode(), mtime=0),
        "POSCAR": crystals[2].to_structure().to(fmt="poscar").encode(),
    }


@st.composite
def mutation(draw):
    """(kind, two places as fractions, token): one change of a file's bytes."""
    kind = draw(st.sampled_from(["cut", "flip", "token", "number", "drop", "repeat", "swap"]))
    place = st.floats(0, 1, exclude_max=True)
    return kind, draw(place), draw(place), draw(st.sampled_from(TOKENS)), draw(st.integers(1, 255))


def mutate(data: bytes, change) -> bytes:
    kind, a, b, token, bits = change
    if not data:
        return data
    i, j = sorted((int(a * len(data)), int(b * len(data))))
    # replace the word at a place
    start = max(data.rfind(b" ", 0, i), data.rfind(b"\n", 0, i), data.rfind(b",", 0, i)) + 1
    ends = [e for e in (data.find(sign, start) for sign in (b" ", b"\n", b",")) if e >= 0]
    part = data[i : min(j, i + 200)]
    changed = {
        "cut": data[:i],
        "flip": data[:i] + bytes([data[i] ^ bits]) + data[i + 1 :],
        "token": data[:i] + token + data[i:],
        "number": data[:start] + token + data[min(ends, default=len(data)) :],
        "drop": data[:i] + data[i + len(part) :],
        "repeat": data[:j] + part + data[j:],
        "swap": data[j:] + data[:j],
    }
    return changed[kind]


def survive(path, data: bytes, prints: bool) -> None:
    path.write_bytes(data)
    try:
        entries = read_crystals(path, num_workers=1)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert path.name in refusal
        return
    score(entries, prints)


def score(entries, prints: bool) -> None:
    protocol = Protocol(num_bootstrap=0, num_workers=1, progress=False)
    found = evaluate(entries, protocol)
    assert len(found.table) == len(entries)
    assert 0 <= found.metrics["valid"].value <= 1
    bad = found.table[~found.table["valid"]]
    assert (bad["reason"] != "").all()
    if prints:
        made = fingerprint_crystals(entries, num_workers=1, progress=False)
        assert np.isfinite(made.structure[made.ok]).all()


FORMATS = ["a.pt", "a.extxyz", "a.cif", "a.zip", "a.csv", "a.json", "a.json.gz", "POSCAR"]
quick = settings(
    max_examples=40, deadline=timedelta(seconds=30), derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
# 8 formats of 1,000 and 2,500 tensor files: more than 10,000 inputs
long = settings(quick, max_examples=1000)
longer = settings(quick, max_examples=2500)
mutations = st.lists(mutation(), min_size=1, max_size=4)


@pytest.mark.parametrize("name", FORMATS)
@given(changes=mutations, prints=st.integers(0, 9).map(lambda n: n == 0))
@quick
def test_mutated_files(name, changes, prints, originals, tmp_path):
    survive(tmp_path / name, reduce(mutate, changes, originals[name]), prints)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@given(changes=mutations, prints=st.integers(0, 9).map(lambda n: n == 0))
@long
def test_a_thousand_mutated_files(name, changes, prints, originals, tmp_path):
    survive(tmp_path / name, reduce(mutate, changes, originals[name]), prints)


@st.composite
def tensor_file(draw):
    """A CDVAE dictionary with strange numbers, shapes, types or missing keys."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    sizes = draw(st.lists(st.sampled_from([0, 1, 2, 5, 20, 200]), min_size=0, max_size=3))
    total = sum(sizes)
    content = {
        "frac_coords": torch.from_numpy(rng.random((1, total, 3))),
        "atom_types": torch.from_numpy(rng.integers(1, 90, (1, total))),
        "lengths": torch.from_numpy(rng.uniform(2, 15, (1, len(sizes), 3))),
        "angles": torch.from_numpy(rng.uniform(50, 130, (1, len(sizes), 3))),
        "num_atoms": torch.tensor([sizes]),
    }
    for key in draw(st.lists(st.sampled_from(sorted(content)), max_size=3)):
        if not isinstance(content.get(key), torch.Tensor):
            continue
        how = draw(st.sampled_from(["value", "value", "value", "drop", "squeeze", "dtype", "text"]))
        value = content[key]
        if how == "drop":
            del content[key]
        elif how == "squeeze" and len(value):
            content[key] = value[0]
        elif how == "dtype":
            content[key] = value.to(draw(st.sampled_from([torch.float16, torch.int32, torch.bool])))
        elif how == "text":
            content[key] = draw(st.sampled_from(["x", None, [], [1.0, "a"], {}]))
        elif value.numel() and value.ndim:
            value = value.double() if key != "num_atoms" else value.clone()
            place = draw(st.integers(0, value.numel() - 1))
            value.view(-1)[place] = draw(
                st.sampled_from(VALUES if value.is_floating_point() else [0, 3, -2])
            )
            content[key] = value
    return content


@given(content=tensor_file())
@quick
def test_strange_tensor_files(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    survive(tmp_path / "a.pt", (tmp_path / "a.pt").read_bytes(), prints=False)


@pytest.mark.slow
@given(content=tensor_file(), prints=st.integers(0, 19).map(lambda n: n == 0))
@longer
def test_thousands_of_strange_tensor_files(content, prints, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    survive(tmp_path / "a.pt", (tmp_path / "a.pt").read_bytes(), prints)


@pytest.mark.parametrize("size", [1, 200])
def test_small_and_large_cells_and_the_heaviest_element(size, rng):
    crystal = make_crystal(rng, size)
    heaviest = Crystal(crystal.lattice, crystal.frac_coords, np.full(size, 118))
    flat = Crystal(crystal.lattice * [[1], [1], [0]], crystal.frac_coords, crystal.atomic_numbers)
    tiny = Crystal(np.eye(3) * 0.5, np.zeros((1, 3)), np.array([6]))
    needle = Crystal(np.diag([1e5, 1.0, 1.0]), crystal.frac_coords, crystal.atomic_numbers)
    score([crystal, heaviest, flat, tiny, needle, needle], prints=True)
