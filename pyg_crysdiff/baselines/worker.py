"""The child process of a live run: ``python -m pyg_crysdiff.baselines.worker request.json``."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from pyg_crysdiff.baselines.live import LiveRequest
from pyg_crysdiff.baselines.shims import install_shims
from pyg_crysdiff.storage import read_json, write_json


def main(file: str) -> None:
    """Run one request and write ``done.json`` with its facts."""
    content = read_json(file)
    wanted = dict(content["request"])
    fields = {k: v for k, v in wanted.items() if k in LiveRequest.__dataclass_fields__}
    fields["overrides"] = tuple(fields["overrides"])
    request = LiveRequest(**fields)
    install_shims(request.device)
    module, _, function = content["runner"].rpartition(".")
    facts = getattr(importlib.import_module(module), function)(request)
    facts["commit"] = _commit(request.checkout)
    write_json(Path(file).with_name("done.json"), {"request": wanted, "facts": facts})


def _commit(folder: str) -> str | None:
    """Return the commit of the checkout, or None where git does not tell."""
    command = ["git", "-C", folder, "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None


if __name__ == "__main__":
    main(sys.argv[1])
