"""What the pages show of a checkpoint's card is what ``crysdiff info`` prints."""

import re
from pathlib import Path

import pytest

from pyg_crysdiff.cli.command import main

ROOT = Path(__file__).parents[2]
QUICKSTART, README = ROOT / "docs" / "quickstart.md", ROOT / "README.md"
SHOWN = {
    "quickstart": (QUICKSTART, r"^```text\n(Trained on\n.*?)^```", "perov5-cds"),
    "readme": (README, r"^\$ crysdiff info carbon24-cds\n(.*?)^  \.\.\.", "carbon24-cds"),
}


@pytest.mark.parametrize("where", SHOWN)
def test_lines_of_a_card(where, capsys):
    page, pattern, name = SHOWN[where]
    blocks = re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    main(["info", name])
    printed = capsys.readouterr().out.splitlines()
    shown = [line for line in blocks[0].splitlines() if line]
    assert len(shown) >= 4
    assert [line for line in shown if line not in printed] == []
