"""Split a data set anew so that all structures of one composition are on one side.

    python scripts/polymorph_split.py DATA/mp_20 OUT/mp_20 --seed 0
    crysdiff benchmark --task prediction --dataset mp20 --data-root OUT

In the official random splits a composition of the test set often has a polymorph in the training
set, which helps a model that predicts its structure. The polymorph splits of Martirossyan et al.
(arXiv 2509.12178) keep all structures of a composition in one part. This script follows the same
rule and keeps the size of each part. Its files are not theirs (mp_20_ps and perov_5_ps in the
repository FERMat-ML/OMatG): the parts hold other compositions.

Reads train, val and test (``.csv`` or ``.csv.gz``) of a folder, and writes ``train.csv``,
``val.csv`` and ``test.csv`` with the same columns and unchanged rows, and a ``split.txt`` with the
name of the split, which stands in every result. The composition is the reduced formula of each
row's CIF text.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Composition

from pyg_crysdiff.data.splits import SPLIT_NOTE, SPLITS, find_table
from pyg_crysdiff.storage import write_text

_SUM = re.compile(r"^_chemical_formula_sum[ \t]+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", re.MULTILINE)
Row = list[str]
csv.field_size_limit(2**31 - 1)  # a CIF text may be longer than what csv expects


def read_parts(folder: Path) -> tuple[Row, dict[str, list[Row]]]:
    """Return the columns and the rows of train, val and test; columns as in the first file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has other columns, or a row has not as many cells.
    """
    columns: Row = []
    parts = {}
    for name in SPLITS:
        file = find_table(folder, name)
        if file is None:
            raise FileNotFoundError(f"{folder} lacks {name}.csv (or {name}.csv.gz)")
        head, *rows = _read(file)
        columns = columns or head
        if sorted(head) != sorted(columns):
            raise ValueError(f"{file} has the columns {head}, the file before it has {columns}")
        for number, row in enumerate(rows, 1):
            if len(row) != len(head):
                raise ValueError(f"{file}: row {number} has {len(row)} cells of {len(head)}")
        order = [head.index(column) for column in columns]
        parts[name] = [[row[i] for i in order] for row in rows]
    return columns, parts


def composition_of(cif: str) -> str:
    """Return the reduced formula of a CIF text, e.g. TiO2.

    Raises:
        ValueError: If the text does not name its formula.
    """
    found = _SUM.search(cif)
    if found is None:
        raise ValueError("the CIF text has no _chemical_formula_sum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen has no electronegativity of noble gases
        return Composition(next(filter(None, found.groups()))).reduced_formula


def split_groups(groups: Sequence[str], sizes: Sequence[int], seed: int) -> list[list[int]]:
    """Cut rows into parts, all rows of one group in one part.

    The groups come in a seeded random order. Each part takes groups until it has reached its size,
    so that it is off by less than one group.

    Args:
        groups: Name of the group of each row.
        sizes: Wanted number of rows of each part; together the number of rows.
        seed: Seed of the order.

    Returns:
        Ascending row numbers of each part.

    Raises:
        ValueError: If there are fewer groups than parts, or a part would be empty.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    if len(members) < len(sizes):
        raise ValueError(
            f"{len(members)} different compositions cannot be split into {len(sizes)} parts; a "
            "data set of one composition has no polymorph split"
        )
    ends = np.cumsum(sizes)
    parts: list[list[int]] = [[] for _ in sizes]
    done = 0
    names = sorted(members)
    for i in np.random.default_rng(seed).permutation(len(names)):
        # The middle of the group decides: without it, every part but the last would be too large.
        middle = done + len(members[names[i]]) / 2
        part = min(int(np.searchsorted(ends, middle)), len(sizes) - 1)
        parts[part] += members[names[i]]
        done += len(members[names[i]])
    empty = [str(k) for k, part in enumerate(parts, 1) if not part]
    if empty:
        raise ValueError(
            f"part {', '.join(empty)} would be empty, since some compositions have so many "
            "structures; try another seed"
        )
    return [sorted(part) for part in parts]


def split_folder(source: Path, target: Path, seed: int) -> dict[str, int]:
    """Write the split of a folder; return the number of rows of each part.

    Raises:
        FileExistsError: If the target holds one of the files already.
        ValueError: If there is no column of CIF text, or a row names no formula.
    """
    columns, parts = read_parts(source)
    if "cif" not in columns:
        raise ValueError(f"{source} has no column 'cif', but {columns}")
    taken = [f"{name}.csv" for name in SPLITS if find_table(target, name) is not None]
    if taken:
        raise FileExistsError(f"{target} already holds {', '.join(taken)}: choose another folder")
    rows = [row for name in SPLITS for row in parts[name]]
    groups = []
    for name in SPLITS:
        for number, row in enumerate(parts[name], 1):
            try:
                groups.append(composition_of(row[columns.index("cif")]))
            except ValueError as error:
                raise ValueError(f"{source}, {name}: row {number}: {error}") from error
    chosen = split_groups(groups, [len(parts[name]) for name in SPLITS], seed)
    for name, numbers in zip(SPLITS, chosen, strict=True):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *(rows[i] for i in numbers)])
        write_text(target / f"{name}.csv", text.getvalue())
    write_text(target / SPLIT_NOTE, f"polymorph split, seed {seed}\n")
    return {name: len(numbers) for name, numbers in zip(SPLITS, chosen, strict=True)}


def _read(file: Path) -> list[Row]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if not rows:
        raise ValueError(f"{file} is empty")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder with train, val and test")
    parser.add_argument("target", type=Path, help="folder for the new files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order (default: 0)")
    args = parser.parse_args(arguments)
    try:
        sizes = split_folder(args.source, args.target, args.seed)
    except (OSError, ValueError, csv.Error) as error:
        sys.exit(f"error: {error}")
    print(f"{args.target}: " + ", ".join(f"{size} {name}" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
