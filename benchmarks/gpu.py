"""What a GPU makes of this package: one command, under 8 minutes, results as they come.

    python benchmarks/gpu.py                       # made-up crystals of the sets' sizes
    python benchmarks/gpu.py --data-root DATA --diffcsp CHECKOUT --out gpu.json
    python benchmarks/gpu.py --device cpu --tiny   # a trial without a GPU

It says whether the forms of the attention agree on the device, and measures training and sampling
for Perov-5, Carbon-24 and MP-20: the kernel (Triton on a GPU, C on a processor), network calls
recorded as CUDA graphs, the plain form, and the plain form compiled by PyTorch. Besides: a sample
of 10,000 crystals from noise to structures, whether steps wait for the device, the share of the
device's rate of matrix products, peak memory, and with --diffcsp the network of DiffCSP (an
unmodified checkout) on the same device.

Every part runs in a process of its own and ends at the time limit. A measurement that fails is a
line of the results. The file --out is whole after each of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "speed"))

from device_parts import FORMS, Measurement, parts
from device_sets import SETS

from pyg_crysdiff.platform import choose_device, keep_freed_memory
from pyg_crysdiff.storage import write_text

Row = dict[str, Any]


def main() -> None:
    """Measure, print and write."""
    args = parse()
    device = choose_device(args.device)
    if args.part:
        keep_freed_memory()
        for row in made(parts(args, device)[args.part]):
            print(json.dumps(row), flush=True)
        return
    end = time.monotonic() + 60 * args.minutes
    rows = [about(device)]
    for part in parts(args, device):
        for row in in_process(part, end - time.monotonic()):
            rows.append(row)
            print(line(row), flush=True)
            if args.out:
                write_text(args.out, json.dumps(rows, indent=2) + "\n")
    print(table(rows, args.datasets, [*args.forms, *(["diffcsp"] if args.diffcsp else [])]))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", default="auto")
    add("--data-root", type=Path, help="folder of the published sets; else crystals are made up")
    add("--split", default="official", help="split of the sets under --data-root")
    add("--datasets", default=",".join(SETS))
    add("--forms", help=f"some of {', '.join(FORMS)}; all on a GPU, kernel,plain elsewhere")
    add("--diffcsp", type=Path, metavar="CHECKOUT", help="checkout of DiffCSP to measure as well")
    add("--minutes", type=float, default=7.5, help="time limit of the whole command")
    add("--seconds", type=float, help="least time of a measurement; 4, or 0.1 with --tiny")
    add("--batch", type=int, help="crystals per training batch; 512, or 8 with --tiny")
    add("--samples", type=int, help="crystals per batch in sampling; 1024, or 8 with --tiny")
    add("--many", type=int, help="crystals of the whole sample; 10,000, or 20 with --tiny")
    add("--few-steps", type=int, default=150, help="steps of the few-step sampler")
    add("--conditioner", default="cds")
    add("--precision", default="auto", help="auto, 32-true, bf16-mixed")
    add("--tiny", action="store_true", help="a small network and few crystals, for a trial")
    add("--out", type=Path, help="JSON file")
    add("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    usual = (0.1, 8, 8, 20) if args.tiny else (4.0, 512, 1024, 10_000)
    for name, value in zip(("seconds", "batch", "samples", "many"), usual, strict=True):
        setattr(args, name, getattr(args, name) or value)
    on_gpu = choose_device(args.device).type == "cuda"
    args.forms = (args.forms or ",".join(FORMS if on_gpu else ("kernel", "plain"))).split(",")
    args.datasets = args.datasets.split(",")
    if unknown := [name for name in args.datasets if name not in SETS]:
        parser.error(f"--datasets: there is no {unknown[0]!r}, but {', '.join(SETS)}")
    if unknown := [form for form in args.forms if form not in FORMS]:
        parser.error(f"--forms: there is no {unknown[0]!r}, but {', '.join(FORMS)}")
    if "recorded" in args.forms and not on_gpu:
        parser.error("--forms recorded needs a GPU")
    return args


def about(device: torch.device) -> Row:
    """Return what the numbers were measured on."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else device.type
    return {"what": "device", "value": name, "torch": torch.__version__}


def made(part: Iterator[Measurement]) -> Iterator[Row]:
    """Make the measurements of a part; one that fails says so and leaves the others be."""
    for label, call in part:
        try:
            value = call()
        except Exception as error:
            yield {**label, "failed": reason(f"{type(error).__name__}: {error}")}
            continue
        for what, number in value.items() if isinstance(value, dict) else [(label["what"], value)]:
            yield {**label, "what": what, "value": number}


def in_process(part: str, seconds: float) -> Iterator[Row]:
    """Run a part in a process of its own; yield its rows as they come, and how it failed if so."""
    if seconds <= 0:
        yield {"what": part, "failed": "no time was left"}
        return
    command = [sys.executable, *sys.argv, "--part", part]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            timer = threading.Timer(seconds, child.kill)
            timer.start()
            for text in child.stdout or ():
                if text.startswith("{"):
                    yield json.loads(text)
        late = not timer.is_alive()
        timer.cancel()
        if child.returncode:
            errors.seek(0)
            yield {"what": part, "failed": "no time was left" if late else reason(errors.read())}


def reason(text: str) -> str:
    """Return the last line of a message that says something."""
    lines = [found.strip() for found in text.splitlines() if found.strip()]
    return (lines or ["it ended without a word"])[-1][:300]


def line(row: Row) -> str:
    """Return a row as text."""
    place = " ".join(row[key] for key in ("set", "form") if row.get(key))
    found = row["failed"] if "failed" in row else f"{shown(row)} {row.get('unit', '')}"
    return f"{place or '-':<20} {row['what']}: {'FAILED, ' * ('failed' in row)}{found}"


def shown(row: Row | None) -> str:
    """Return the value of a row, as short as it is exact."""
    if row is None:
        return ""
    if "failed" in row:
        return "failed"
    value = row["value"]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: list[Row], datasets: list[str], forms: list[str]) -> str:
    """Return what was measured as a table: a block for each set, a column for each form."""
    out = []
    for data in datasets:
        own = [row for row in rows if row.get("set") == data]
        out.append(f"\n{data:<66}" + "".join(f"{form:>12}" for form in forms))
        for what, unit in dict.fromkeys((row["what"], row["unit"]) for row in own):
            found = {row["form"]: row for row in own if row["what"] == what}
            cells = "".join(f"{shown(found.get(form)):>12}" for form in forms)
            out.append(f"  {what + (', ' + unit if unit else ''):<64}{cells}")
    longest = "as many crystals as the shipped model"
    for form in forms:
        times = [r["value"] for r in rows if r["what"] == longest and r.get("form") == form
                 and "value" in r]  # fmt: skip
        if len(times) == len(datasets):
            out.append(f"\n{form}: {longest}, all sets together: {sum(times):.4g} min")
    return "\n".join(out)


if __name__ == "__main__":
    main()
