"""Mutated files of every format: no crash, no hang, and no atom lost without a word.

What a file states is counted by a few lines for each format that share nothing with the readers.
Where these lines cannot tell, because the mutation hit them, only crash and hang are looked for.

The long run: ``CRYSDIFF_FUZZ=100000 python -m pytest -m slow tests/data/test_mutations.py``.
"""

import csv
import gzip
import io
import json
import os
import random
import re
import signal
import tarfile
import time
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif, save_cdvae, write_extxyz
from tests.conftest import make_crystal, zipped

LIMIT = 10.0  # seconds for one input
SHORT, LONG = 600, int(os.environ.get("CRYSDIFF_FUZZ", "100000"))
WORDS = [
    "nan", "inf", "-1", "0", "1e308", "1e-308", "999999999999", "", "Xx", "Og", "\x00", "'", '"',
    ",", "\n", "\n\n", ";", "\n;\n", "#", " ", "loop_", "data_", "\ndata_x\n", "{}", "[", "null",
    ".", "?", "D", "Vac", "Fe2+", "H", "\u2028", "\ufeff", "1.5", "2", "x,y,z",
    "\n_atom_site_label\n",
    "\n1\n", "T", "pbc", "Lattice", "\\", "\t", "=", ":",
]  # fmt: skip


# One good file of every format.


def originals(folder):
    """Name -> bytes of files with one to three crystals."""
    rng = np.random.default_rng(0)
    crystals = [make_crystal(rng, n) for n in (1, 3, 4)]
    save_cdvae(crystals, folder / "a.pt")
    write_extxyz(crystals, folder / "a.extxyz")
    cifs = [crystal_to_cif(c) for c in crystals]
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    listed = str(CifWriter(salt.get_primitive_structure(), symprec=0.01))
    table = io.StringIO()
    csv.writer(table).writerows([["material_id", "cif"], *enumerate(cifs[:2])])
    dicts = [c.to_structure().as_dict() for c in crystals[:2]]
    split = {"index": [0, 1], "columns": ["structure", "e"], "data": [[d, 0.5] for d in dicts]}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("0.cif")
        info.size = len(cifs[1])
        archive.addfile(info, io.BytesIO(cifs[1].encode()))
    return {
        "a.pt": (folder / "a.pt").read_bytes(),
        "a.extxyz": (folder / "a.extxyz").read_bytes(),
        "b.xyz": (folder / "a.extxyz").read_bytes().replace(b"Lattice", b'note="x y" Lattice'),
        "a.cif": "\n".join(cifs[:2]).encode(),
        "symmetric.cif": listed.encode(),
        "symbol.cif": re.sub(r"loop_\n _symmetry[^_]*(\n  \d+ .*)+", "", listed).encode(),
        "a.zip": zipped({"0.cif": cifs[0].encode(), "1.cif": cifs[1].encode()}),
        "a.tar": packed.getvalue(),
        "a.csv": table.getvalue().encode(),
        "a.json": json.dumps(dicts).encode(),
        "split.json": json.dumps(split).encode(),
        "a.json.gz": gzip.compress(json.dumps(dicts).encode(), mtime=0),
        "POSCAR": crystals[2].to_structure().to(fmt="poscar").encode(),
    }


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three changes: cut, flip, insert, replace a word, drop, repeat or swap lines."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        i, j = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
        part, word = data[i : min(j, i + 200)], rng.choice(WORDS).encode()
        start = max(data.rfind(sign, 0, i) for sign in (b" ", b"\n", b",")) + 1
        ends = [e for e in (data.find(sign, start) for sign in (b" ", b"\n", b",")) if e >= 0]
        kind = rng.choice(
            ("cut", "flip", "word", "word", "insert", "drop", "repeat", "line", "line")
        )
        if kind == "cut":
            data = data[:i]
        elif kind == "flip":
            data = data[:i] + bytes([data[i] ^ rng.randrange(1, 256)]) + data[i + 1 :]
        elif kind == "word":
            data = data[:start] + word + data[min(ends, default=len(data)) :]
        elif kind == "insert":
            data = data[:i] + word + data[i:]
        elif kind == "drop":
            data = data[:i] + data[i + len(part) :]
        elif kind == "repeat":
            data = data[:j] + part + data[j:]
        else:
            lines = data.split(b"\n")
            k = rng.randrange(len(lines))
            line = lines.pop(k)
            if rng.random() < 0.6:
                lines.insert(rng.randrange(len(lines) + 1), line)
            data = b"\n".join(lines)
    return data


def mutated_file(name: str, data: bytes, rng: random.Random) -> bytes:
    """Change a file; of a packed one mostly what is within, which a checksum protects."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    if name.endswith(".gz"):
        return gzip.compress(mutated(gzip.decompress(data), rng), mtime=0)
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return zipped({n: mutated(archive.read(n), rng) for n in archive.namelist()})
    return mutated(data, rng)


# What a file states: for each entry the atoms, a number of atoms, or None.


def stated(name: str, data: bytes) -> list[Counter[str] | int | None] | None:  # noqa: PLR0911
    """Entries of a file; None where these lines cannot tell."""
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = [
                    stated(n, archive.read(n)) for n in archive.namelist() if n.endswith("cif")
                ]
                whole = all(part is not None for part in parts)
                return [entry for part in parts for entry in part] if whole else None
        if name.endswith(".tar"):
            return None
        if name.endswith(".pt"):
            content = torch.load(io.BytesIO(data), weights_only=True)
            return [int(n) for n in content["num_atoms"].reshape(-1)]
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("ascii")
    except Exception:
        return None
    if "json" in name:
        return _in_json(text)
    if name.endswith("csv"):
        return _in_csv(text)
    if name.endswith("xyz"):
        return _in_xyz(text)
    return _in_cif(text) if name.endswith("cif") else [_in_poscar(text)]


def _in_json(text):
    try:
        content = json.loads(text)
        items = [row[0] for row in content["data"]] if isinstance(content, dict) else content
        return [
            Counter(_symbol(site["species"][0]["element"]) for site in item["sites"])
            for item in items
        ]
    except Exception:
        return None


def _in_csv(text):
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True))
        column = rows[0].index("cif")
        found = [_in_cif(row[column]) for row in rows[1:] if row]
        return [f[0] if f is not None and len(f) == 1 else None for f in found]
    except Exception:
        return None


def _symbol(word):
    plain = re.fullmatch(r"([A-Z][a-z]?)(\d*[+-])?", word)
    return {"D": "H", "T": "H"}.get(plain[1], plain[1]) if plain else "?"


def _in_xyz(text):
    lines = [line for line in text.split("\n") if line.strip()]
    frames, at = [], 0
    while at < len(lines):
        if not re.fullmatch(r"\s*\d{1,4}\s*", lines[at]):
            return None
        count = int(lines[at])
        rows = [line.split() for line in lines[at + 2 : at + 2 + count]]
        plain = at + 1 < len(lines) and re.findall(r"Properties=\S+", lines[at + 1])
        whole = plain == ["Properties=species:S:1:pos:R:3"] and len(rows) == count
        frames.append(Counter(_symbol(row[0]) for row in rows) if whole else None)
        at += 2 + count
    return frames


def _in_poscar(text):
    lines = text.split("\n")
    symbols, counts = (lines[k].split() if len(lines) > k else [] for k in (5, 6))
    if not symbols or not all(count.isdigit() for count in counts) or len(counts) != len(symbols):
        return None
    out = Counter()
    for symbol, count in zip(symbols, counts, strict=True):
        out[_symbol(symbol)] += int(count)
    return out


def _in_cif(text):
    if set("'\";#") & set(
        re.sub(r"(?m)^(#.*|_\S+\s+'[^'\n\"#;]*'|\s*\d+\s+'[^'\n#;\"]*')$", "", text)
    ):
        return None  # quotes or comments where the originals have none
    blocks = re.split(r"(?im)^\s*data_", text)[1:]
    if not blocks or "data_" in "".join(b.split("\n", 1)[-1] for b in blocks).lower():
        return None
    return [_in_block(block) for block in blocks if "_atom_site_" in block]


def _in_block(block):
    """Rows of the loop of atoms in P 1; otherwise formula times its units."""
    sums = re.findall(r"(?m)^_chemical_formula_sum\s+'?([A-Za-z0-9 ]+?)'?\s*$", block)
    units = re.findall(r"(?m)^_cell_formula_units_Z\s+(\d+)\s*$", block)
    rows = re.search(r"(?m)^ _atom_site_occupancy\n((?:  \S+(?:  \S+){6}\n)*)\s*\Z", block + "\n")
    if "'P 1'" in block and rows and rows[1]:
        return Counter(_symbol(row.split()[0]) for row in rows[1].strip().split("\n"))
    if len(sums) == 1 and len(units) == 1:
        parts = re.findall(r"([A-Z][a-z]?)(\d+)", sums[0])
        atoms = Counter({_symbol(symbol): int(count) for symbol, count in parts})
        return atoms if set(atoms) <= set(chemical_symbols) else None  # reported, not checked
    return None


# The check of one input.


class HangError(Exception):
    """An input took longer than the limit."""


def check(path, data: bytes) -> bool:
    """Read one input; whether what was read could be compared with what it states."""
    path.write_bytes(data)
    started = time.perf_counter()
    try:
        found = read_crystals(path, num_workers=0)
    except ValueError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert path.name in told, f"the message does not name the file: {told}"
        return False
    assert time.perf_counter() - started < LIMIT
    entries = stated(path.name, data)
    if entries is None:
        return False
    assert len(found) >= len(entries), f"{len(entries)} entries stated, {len(found)} read"
    if len(found) != len(entries):
        return False
    compared = False
    for entry, atoms in zip(found, entries, strict=True):
        if not isinstance(entry, Crystal):
            assert entry.reason
        elif isinstance(atoms, int):
            assert len(entry) == atoms
            compared = True
        elif atoms is not None and "?" not in atoms:
            read = Counter(chemical_symbols[z] for z in entry.atomic_numbers)
            assert read == atoms, f"stated {dict(atoms)}, read {dict(read)}"
            compared = True
    return compared


def run(count: int, folder) -> Counter[str]:
    """Check so many inputs, shared among the formats; how many could be compared, by file."""
    files = originals(folder)
    compared: Counter[str] = Counter()

    def late(*_):
        raise HangError

    before = signal.signal(signal.SIGALRM, late)
    try:
        for seed in range(count):
            name = list(files)[seed % len(files)]
            data = mutated_file(name, files[name], random.Random(seed))
            signal.setitimer(signal.ITIMER_REAL, LIMIT)
            try:
                compared[name] += check(folder / name, data)
            except (Exception, HangError) as error:
                (folder / f"failed-{seed}-{name}").write_bytes(data)
                raise AssertionError(
                    f"seed {seed}, {name}: {type(error).__name__}: {error}"
                ) from error
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return compared


posix = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")


@pytest.mark.filterwarnings("ignore")
def test_the_originals_are_read_and_counted(tmp_path):
    for name, data in originals(tmp_path).items():
        assert check(tmp_path / name, data) or name == "a.tar", name


@posix
@pytest.mark.filterwarnings("ignore")
def test_mutated_files(tmp_path):
    compared = run(SHORT, tmp_path)
    assert sum(compared.values()) > SHORT / 20  # the comparison is not empty


@posix
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_very_many_mutated_files(tmp_path):
    compared = run(LONG, tmp_path)
    assert sum(compared.values()) > LONG / 20
