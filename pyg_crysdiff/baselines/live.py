"""Training and sampling an unmodified checkout of a peer, in a process of its own.

Our training crystals -> CSV files as the peer reads them -> a child process in which stand-ins
for packages that today's environment lacks are installed and the peer's own code is imported,
trained and sampled -> sample files in CDVAE's format -> the one harness. Neither the stand-ins nor
the peer's modules ever enter the calling process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pyg_crysdiff.baselines.baseline import Baseline
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.readers import read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.storage import digest_of, read_record, whole, write_json, write_text

GENERATED, OPTIMISED = "samples-generation.pt", "samples-optimisation.pt"


@dataclass(frozen=True)
class LiveRequest:
    """What a live run is asked for; everything is JSON-able.

    Attributes:
        checkout: Root of the peer's checkout.
        work: Folder for its data, weights and samples.
        config: The peer's own configuration for this kind of data.
        property_name: Property column of the CSV files.
        max_atoms: Atoms in the largest training crystal.
        minutes: Training time.
        num_samples: Crystals per task.
        sampler_steps: Steps of its sampler, in the sense that its runner tells; None for its own.
        seed: Seed.
        device: ``cpu`` or ``cuda``.
        overrides: ``key=value`` overrides of the peer's own configuration.
    """

    checkout: str
    work: str
    config: str
    property_name: str
    max_atoms: int
    minutes: float
    num_samples: int
    sampler_steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    overrides: tuple[str, ...] = field(default=())


def run_live(
    baseline: Baseline,
    request: LiveRequest,
    train: Sequence[Crystal],
    val: Sequence[Crystal],
) -> tuple[dict[str, list[Crystal | BrokenEntry]], dict[str, Any]]:
    """Train and sample a checkout, or return what an earlier run of the same request left.

    Args:
        baseline: The peer.
        request: What to do.
        train: Training crystals, with the property.
        val: Validation crystals.

    Returns:
        Task (``generation``, and ``optimisation`` where the peer can) to crystals; and facts:
        commit, epochs, wall times, parameters.

    Raises:
        ValueError: If the peer cannot be run live, or the folder is not its checkout.
        RuntimeError: If its code failed; the message names the log.
    """
    if baseline.live is None:
        raise ValueError(f"{baseline.title} cannot be run live; give its sample file instead")
    if not baseline.is_checkout(request.checkout):
        raise ValueError(
            f"{request.checkout} is no checkout of {baseline.title}: it lacks "
            f"{baseline.live.marker}"
        )
    work = Path(request.work)
    work.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, crystals in (("train", train), ("val", val), ("test", val)):
        files[name] = _write_table(work / f"{name}.csv", crystals, request.property_name)
    wanted = {"baseline": baseline.name, "files": files, **asdict(request)}
    wanted = json.loads(json.dumps(wanted))
    done = work / "done.json"
    record = whole(done, read_record)
    if record is None or record.get("request") != wanted:
        done.unlink(missing_ok=True)
        _start(baseline, work, wanted)
    facts = read_record(done)["facts"]
    samples = {
        task: read_crystals(work / file)
        for task, file in (("generation", GENERATED), ("optimisation", OPTIMISED))
        if (work / file).is_file()
    }
    return samples, facts


def _write_table(path: Path, crystals: Sequence[Crystal], property_name: str) -> str:
    """Write ``material_id, cif, property`` and return the digest of the content."""
    frame = pd.DataFrame(
        {
            "material_id": [f"{path.stem}-{i}" for i in range(len(crystals))],
            property_name: [float(c.info[property_name]) for c in crystals],
            "cif": [crystal_to_cif(c) for c in crystals],
        }
    )
    text = frame.to_csv(index=False)
    write_text(path, text)
    return digest_of([text])


def _start(baseline: Baseline, work: Path, wanted: dict[str, Any]) -> None:
    assert baseline.live is not None
    file = work / "request.json"
    write_json(file, {"runner": baseline.live.runner, "request": wanted})
    command = [sys.executable, "-m", "pyg_crysdiff.baselines.worker", str(file)]
    log = work / "log.txt"
    with log.open("w", encoding="utf-8") as handle:
        code = subprocess.run(command, stdout=handle, stderr=subprocess.STDOUT, check=False)
    if code.returncode != 0 or not (work / "done.json").is_file():
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(
            f"the code of {baseline.title} failed ({' '.join(tail)[:300]}); its output is in {log}"
        )
