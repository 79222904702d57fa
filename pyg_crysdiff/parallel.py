"""Work on all cores, in order; the engine behind it is :mod:`pyg_crysdiff.engine`."""

from pyg_crysdiff.engine import WorkerKilledError, available_cores, parallel_map

__all__ = ["WorkerKilledError", "available_cores", "parallel_map"]
