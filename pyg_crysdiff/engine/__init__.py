"""The engine through which all work on many items goes: here, in processes, or on a cluster.

- ``base``: what an engine is, and what stands for an item that it gave up.
- ``current``: which engine is in charge.
- ``mapping``: results in order.
- ``driver``: what is at work, what is tried again, what is set aside.
- ``chunks``: what a worker does.
- ``local``, ``executors``, ``dask_cluster``: where the workers come from.
"""

from pyg_crysdiff.engine.base import Engine, Failed, Patience, WorkerKilledError
from pyg_crysdiff.engine.current import chosen_engine, current_engine, using_engine
from pyg_crysdiff.engine.executors import OnExecutor
from pyg_crysdiff.engine.local import Processes, Serial, available_cores
from pyg_crysdiff.engine.mapping import parallel_map

__all__ = [
    "Engine",
    "Failed",
    "OnExecutor",
    "Patience",
    "Processes",
    "Serial",
    "WorkerKilledError",
    "available_cores",
    "chosen_engine",
    "current_engine",
    "parallel_map",
    "using_engine",
]
