"""Links between the pages lead somewhere: to files that exist, and to headings of these files."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "examples")
    for path in folder.glob("*.md")
    if path.name != "CHANGELOG.md"
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page as GitHub and MkDocs make them of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in _HEADING.findall(text)]
    return {re.sub(r"\s+", "-", heading.strip()) for heading in plain}


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else page.parent / name
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    assert broken(page) == []


def test_a_link_that_leads_nowhere(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A head\n[a](other.md) [b](#a-head) [c](#none) [d](https://x.org/#y) `[e](f)`\n"
    )
    assert broken(page) == ["other.md", "#none"]
