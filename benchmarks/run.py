"""Train, generate towards a property, score, compare: ``python benchmarks/run.py --help``."""

from pyg_crysdiff.benchmark import main

if __name__ == "__main__":
    main()
