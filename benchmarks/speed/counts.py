"""Time of a sum over all compositions: the C kernel against operations of torch, in turns.

    python benchmarks/speed/counts.py

The weights are random, in the shape that MP-20 has: 88 elements, up to 20 atoms of each and in all,
up to 7 elements of a crystal. One thread.
"""

from __future__ import annotations

import argparse
import time

import torch

from pyg_crysdiff.structrepdiff import sum_product as module


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 256, 512])
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    if not module.kernel_agrees():
        raise SystemExit("there is no C compiler here, or CRYSDIFF_NATIVE=0 is set")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    tops = [20] * 88
    print("crystals  plain, ms  kernel, ms  ratio   (fastest, median)")
    for batch in args.batches:
        weights = torch.rand(88, 21, batch, generator=generator)
        sums = torch.rand(21, 8, batch, generator=generator)
        seconds: dict[str, list[float]] = {"plain": [], "kernel": []}
        for _ in range(args.repeats):
            for name, call in ("plain", module.plain_sum_product), ("kernel", module.sum_product):
                start = time.perf_counter()
                call(weights, sums, tops)
                seconds[name].append(1e3 * (time.perf_counter() - start))
        for pick in (min, lambda s: sorted(s)[len(s) // 2]):
            plain, kernel = (pick(seconds[name]) for name in ("plain", "kernel"))
            print(f"{batch:8d} {plain:10.2f} {kernel:11.2f} {plain / kernel:6.1f}")


if __name__ == "__main__":
    main()
