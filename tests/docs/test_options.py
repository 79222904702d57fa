"""Commands that the pages show have the options that they are shown with."""

import re
from functools import cache
from pathlib import Path

import pytest

from pyg_crysdiff.cli.command import main

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_COMMAND = re.compile(r"(?:crysdiff (?P<name>[a-z][a-z-]*)|benchmarks/run\.py)(?P<rest>[^`\n|;]*)")


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of a page with the options of each."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [
        (found["name"] or "benchmark", re.findall(r"(?<=\s)--[a-z][a-z-]*", found["rest"]))
        for found in _COMMAND.finditer(text)
    ]


@pytest.fixture
def options(capsys):
    @cache
    def of(name: str) -> frozenset[str]:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0, f"there is no command {name}"
        return frozenset(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))

    return of


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options(page, options):
    unknown = [
        (name, option)
        for name, named in commands(page)
        for option in named
        if option not in options(name)
    ]
    assert unknown == []


def test_commands_are_found():
    found = commands(ROOT / "docs" / "quickstart.md")
    assert ("sample", ["--checkpoint", "--target", "--out"]) in found
