"""Run a page of the documentation: write its files, execute its commands.

Blocks are taken in order. A block with a title (```python title="part.py"```) is written to that
file; other ```bash``` and ```python``` blocks are executed in the current folder; all else is text.
With --tiny, replacements that the page names in comments make it run in a minute:

    <!-- tiny: budget_minutes=5 => max_epochs=1 -->

With --only python, the other commands of a page are left out, as those of the README, of which some
install the package.

    python scripts/run_page.py docs/own_data.md --tiny
    python scripts/run_page.py README.md --tiny --only python
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_TINY = re.compile(r"<!-- tiny: (.*?) => (.*?) -->")


def run_page(page: Path, tiny: bool = False, only: str | None = None) -> int:
    """Run a page in the current folder and return the number of executed blocks.

    Args:
        page: Markdown file.
        tiny: Make the replacements that the page names.
        only: Kind of the blocks to execute, ``bash`` or ``python``; None for both.

    Raises:
        subprocess.CalledProcessError: If a command fails.
        ValueError: If a replacement finds nothing to replace.
    """
    text = page.read_text(encoding="utf-8")
    replacements = _TINY.findall(text) if tiny else []
    blocks = [(kind, options, body) for kind, options, body in _BLOCK.findall(text)]
    for old, _ in replacements:
        if not any(old in body for _, _, body in blocks):
            raise ValueError(f"{page}: nothing to replace: {old!r}")
    executed = 0
    bin_folder = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": bin_folder + os.pathsep + os.environ["PATH"]}
    for kind, options, body in blocks:
        for old, new in replacements:
            body = body.replace(old, new)  # noqa: PLW2901
        if title := _TITLE.search(options):
            path = Path(title.group(1))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
            print(f"-- wrote {path}", flush=True)
        elif kind in ("bash", "python") and only in (None, kind):
            print(f"-- {kind}: {body.strip().splitlines()[0]} ...", flush=True)
            command = ["bash", "-euo", "pipefail"] if kind == "bash" else [sys.executable, "-"]
            subprocess.run(command, input=body, text=True, check=True, env=env)
            executed += 1
    return executed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", choices=["bash", "python"])
    given = parser.parse_args()
    ran = run_page(given.page.resolve(), given.tiny, given.only)
    print(f"{ran} blocks of {given.page.name} ran")
