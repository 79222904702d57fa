"""The grammar of CIF: blocks, tags, values and loops. Nothing is guessed, nothing is dropped.

pymatgen's and ASE's readers of CIF mend what they can and drop what they cannot (a second loop
of sites, a value behind a ``#`` in quotes), which changes crystals without a word.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    ^;(?P<field>.*?)\n;                        # text between two lines that begin with ;
    | \#[^\n]*
    | '(?P<single>(?:[^'\n]|'(?=\S))*)'(?=\s|\Z)  # a quote ends where white space follows
    | "(?P<double>(?:[^"\n]|"(?=\S))*)"(?=\s|\Z)
    | (?P<word>\S+)
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


_ATOMS = ("_atom_site_label", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_cartn_x")

# What the crystal is made of. The rest (authors, journals, experiments) is often written badly.
_MATTERS = ("_cell_", "_atom_site_", "_symmetry_", "_space_group_", "_chemical_formula_sum")


@dataclass
class Block:
    """One data block.

    Attributes:
        name: Name behind ``data_``.
        values: Values by tag; tags in lower case with ``_`` for ``.``, so that the names of all
            versions of the dictionary are one.
        loops: Columns by tag, each of one length within a loop.
    """

    name: str
    values: dict[str, str] = field(default_factory=dict)
    loops: dict[str, list[str]] = field(default_factory=dict)

    @property
    def holds_atoms(self) -> bool:
        """Whether there are sites of atoms, readable or not."""
        return any(self.column(tag) is not None for tag in _ATOMS)

    def get(self, *tags: str) -> str | None:
        """Return the first stated value; ``.`` and ``?`` are none."""
        for tag in tags:
            value = self.values.get(tag)
            if value is None and len(self.loops.get(tag, ())) == 1:
                value = self.loops[tag][0]
            if value is not None and value.strip() not in ("", ".", "?"):
                return value.strip()
        return None

    def column(self, tag: str) -> list[str] | None:
        """Return a column of a loop; a value that stands alone is a column of one."""
        if tag in self.loops:
            return self.loops[tag]
        return [self.values[tag]] if tag in self.values else None

    def add(self, tag: str, value: str | list[str]) -> None:
        """Add a value or a column.

        Raises:
            ValueError: If the tag is there already with something else.
        """
        tag = _plain(tag)
        before = self.values.get(tag, self.loops.get(tag))
        if before is not None and before != value:
            _complain(tag, f"{tag} stands twice in the block, with different values")
            return
        if isinstance(value, list):
            self.loops[tag] = value
        else:
            self.values[tag] = value


def split_blocks(text: str) -> list[str]:
    """Cut the text of a CIF file before every ``data_``, but not within a text field."""
    starts = [
        token.start()
        for token in _TOKEN.finditer(text)
        if token["word"] is not None and token["word"][:5].lower() == "data_"
    ]
    if not starts:
        return [text]
    if any(True for _ in _tokens(text[: starts[0]])):  # a block whose data_ line is lost
        starts = [0, *starts]
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def may_hold_atoms(text: str) -> bool:
    """Whether the text of a block speaks of atom sites at all, be it readable or not."""
    return "_atom_site" in text.lower()


def read_block(text: str) -> Block:
    """Read the text of one data block.

    Raises:
        ValueError: If it is empty, has no ``data_`` line, or a tag or a loop is not whole.
    """
    if not text.strip():
        raise ValueError("the file is empty")
    tokens = list(_tokens(text))
    if not tokens or not tokens[0][1].lower().startswith("data_") or tokens[0][0]:
        raise ValueError("no data_ line in front of the first tag: it is no block of a CIF file")
    block = Block(tokens[0][1][5:])
    at, tag = 1, ""
    while at < len(tokens):
        quoted, word = tokens[at]
        if not quoted and word.lower() == "loop_":
            at, tag = _read_loop(block, tokens, at + 1)
        elif not quoted and word.startswith("_"):
            tag = word
            if at + 1 == len(tokens) or _is_key(tokens[at + 1]):
                _complain(tag, f"{word} has no value")
                at += 1
            else:
                block.add(word, tokens[at + 1][1])
                at += 2
        else:
            _complain(tag, f"{word[:40]!r} belongs to no tag; is a value of {tag[:60]} not quoted?")
            at += 1
    return block


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_").rstrip("_")


def _complain(tag: str, problem: str) -> None:
    """Refuse what is wrong with a tag that makes the crystal; note what is wrong with another."""
    if not tag or _plain(tag).startswith(_MATTERS):
        raise ValueError(problem)
    warnings.warn(problem, stacklevel=3)


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (quoted, text) of every word; comments are none."""
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind is not None:
            value = token[kind]
            yield kind != "word", " ".join(value.split()) if kind == "field" else value


def _is_key(token: tuple[bool, str]) -> bool:
    quoted, word = token
    return not quoted and (word.startswith("_") or word.lower() == "loop_")


def _read_loop(block: Block, tokens: list[tuple[bool, str]], at: int) -> tuple[int, str]:
    """Read a loop; return the place behind it and its first tag that matters."""
    start = at
    while at < len(tokens) and not tokens[at][0] and tokens[at][1].startswith("_"):
        at += 1
    tags = [word for _, word in tokens[start:at]]
    start = at
    while at < len(tokens) and not _is_key(tokens[at]):
        at += 1
    items = [word for _, word in tokens[start:at]]
    if not tags:
        raise ValueError("a loop_ without tags")
    first = next((tag for tag in tags if _plain(tag).startswith(_MATTERS)), tags[0])
    if len(items) % len(tags):
        _complain(
            first,
            f"the loop of {first} has {len(tags)} columns, but {len(items)} values: a row is not "
            "whole",
        )
        return at, first
    for k, tag in enumerate(tags):
        block.add(tag, items[k :: len(tags)])
    return at, first
