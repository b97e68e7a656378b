"""The pool of a lane whose units leave this process or interpreter. Each lane's code loads in use."""

from __future__ import annotations

from importlib import import_module

from cableway.flow.config import ExecutionType
from cableway.flow.lanes.protocol import PoolConfig, PoolEvents, WorkerPool

_POOLS = {
    ExecutionType.PROCESS: ("cableway.flow.lanes.process", "ProcessPool"),
    ExecutionType.INTERPRETER: ("cableway.flow.lanes.interpreter", "InterpreterPool"),
    ExecutionType.DASK: ("cableway.flow.lanes.dask", "DaskPool"),
}


def make_pool(execution_type: ExecutionType, config: PoolConfig, events: PoolEvents) -> WorkerPool:
    """A pool for one bloc of one stage, not started yet."""
    module, name = _POOLS[execution_type]
    pool: WorkerPool = getattr(import_module(module), name)(config, events)
    return pool
