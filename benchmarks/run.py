"""The command ``crysdiff benchmark`` from a source tree: ``python benchmarks/run.py --help``."""

from pyg_crysdiff.cli.benchmark import main

if __name__ == "__main__":
    main()
