"""
What the flow asks of a lane that runs units outside the event loop's process or interpreter.

The flow hands units to a `WorkerPool` and awaits their results. Everything between, that is
chunks, transfer, wrapping of the handler in the child, worker death, timeouts that kill, and
rebuilding, is the pool's. Retry, drop, fan-out and the accounting are the flow's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFactory:
    """A handler that is built in the worker: ``path`` (``module:function``) is called there once.

    It is called as ``function(*args, shared)``; what it returns is the handler. ``shared`` is a
    mapping that lives as long as the worker and holds what `WorkerPool.share` has sent so far.
    Only ``path`` and ``args`` cross the border, so nothing built has to be pickled.
    """

    path: str
    args: tuple[Any, ...] = ()
    shared: tuple[str, ...] = ()
    wants_metadata: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """What a pool is made of. ``chunk`` is a number of units or None for chunks sized by time."""

    stage: str
    bloc: str
    handler: Callable[..., Any] | HandlerFactory
    wants_metadata: bool = False
    workers: int = 1
    chunk: int | None = None
    setup: Callable[[], Any] | None = None
    max_item_bytes: int | None = None
    worker_hook: str | None = None
    pool_restarts: int = 3
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class UnitCall:
    """One bloc's work on one item, as it is sent. ``timeout_s`` is for this attempt."""

    job_id: str
    data: Any
    metadata: Mapping[str, Any] | None = None
    carrier: Mapping[str, str] | None = None
    timeout_s: float | None = None


@dataclass(slots=True)
class UnitResult:
    """What a unit gave. ``stream`` is set instead of ``value`` when the handler is a generator.

    A stream is pulled: the worker makes the next child only when it is asked for one, plus a
    small bounded read-ahead. Times are ``monotonic_ns`` readings around the handler itself.
    """

    value: Any
    started_ns: int
    finished_ns: int
    stream: AsyncIterator[Any] | None = None


class PoolEvents(Protocol):
    """What a pool tells the flow beside results."""

    def worker_died(self, reason: str, jobs: Sequence[str]) -> None:
        """A worker died with these units in its hands."""
        ...

    def worker_reported(self, report: Sequence[Any]) -> None:
        """What a worker's hook had gathered."""
        ...


class WorkerPool(Protocol):
    """Workers of one bloc in one stage."""

    @property
    def window(self) -> int:
        """How many units the pool wants in its hands now; it grows when units are short."""
        ...

    async def start(self) -> None:
        """Start the workers and check that the handler loads there.

        Raise `DefinitionError` naming the module, the stage and the lane when it does not, and
        `UnavailableError` when what the lane needs (a cluster) is not there.
        """
        ...

    def share(self, name: str, value: Any) -> None:
        """Make *value* part of every worker's ``shared`` for every unit submitted after this. Sent once a worker."""
        ...

    async def run(self, call: UnitCall) -> UnitResult:
        """Work on one unit and return what it gave.

        Raise the handler's error as it was when it can cross the border, else `ItemError` with its
        type and message; `ItemError` ``timeout``, ``worker_died``, ``worker_exit``,
        ``unpicklable_result``, ``unpicklable_input`` or ``too_large`` for what the pool found;
        `WorkersLostError` when the pool has been rebuilt too often. Cancelling this kills or
        abandons the unit, whichever the lane can do.
        """
        ...

    async def close(self, grace_s: float) -> None:
        """End the workers: at once when idle, after at most *grace_s* seconds else; then kill. Frees every segment."""
        ...
