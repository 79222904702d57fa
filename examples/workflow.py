"""Sample, relax and score as three jobs of a workflow manager (jobflow).

    pip install jobflow            # or pyg_crysdiff[workflow]
    python examples/workflow.py
    python examples/workflow.py --judge chgnet --num-samples 20

What goes from job to job is plain JSON, so that the same three lines run on a cluster with
jobflow-remote or FireWorks, and with `quacc.job` in the place of `jobflow.job`. Without CHGNet a
toy potential relaxes the crystals; its energies mean nothing.
"""

import argparse
import importlib.util

from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore

from pyg_crysdiff import jobs

TOY = "ase:pyg_crysdiff.testing.potential.PairCalculator"
SHOWN = ("valid", "uniqueness", "novelty")


def workflow(num_samples: int, judge: str, steps: int) -> Flow:
    """Return the three jobs; each waits for the output of the one before."""
    sampled = job(jobs.sample)("perov5-cds", num_samples, target="min", seed=0)
    relaxed = job(jobs.relax)(sampled.output, judge=judge, settings={"steps": steps})
    scored = job(jobs.score)(relaxed.output["structures"], reference="demo", train="demo")
    return Flow([sampled, relaxed, scored], output=[relaxed.output, scored.output])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    installed = importlib.util.find_spec("chgnet") is not None
    parser.add_argument("--judge", default="chgnet" if installed else TOY)
    parser.add_argument("--num-samples", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20, help="most steps of a relaxation")
    given = parser.parse_args()

    flow = workflow(given.num_samples, given.judge, given.steps)
    store = JobStore(MemoryStore())
    responses = run_locally(flow, store=store, ensure_success=True)
    _, relaxed, scored = (responses[made.uuid][1].output for made in flow.jobs)

    print(f"{given.num_samples} crystals, relaxed with {given.judge}")
    for record in relaxed["records"]:
        if record["problem"]:
            print(f"  {record['problem']}")
        else:
            before, after = record["energy_before"], record["energy"]
            print(f"  {before:8.3f} -> {after:8.3f} eV/atom, moved {record['moved']:.2f} A")
    for name in SHOWN:
        value = scored["metrics"][name]["value"]
        print(f"{name:>14}  {'unknown' if value is None else format(value, '.3f')}")


if __name__ == "__main__":
    main()
