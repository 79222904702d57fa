"""Train, generate towards a property, score, compare: ``python benchmarks/run.py --help``."""

from pyg_crysdiff.cli.benchmark import main

if __name__ == "__main__":
    main()
