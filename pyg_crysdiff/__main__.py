"""The command line as ``python -m pyg_crysdiff``."""

from pyg_crysdiff.cli import main

if __name__ == "__main__":
    main()
