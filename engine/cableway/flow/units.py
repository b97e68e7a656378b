"""A bloc at work: one attempt at one item, in whichever lane the bloc has."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from cableway.errors import ItemError
from cableway.flow.attempt import within
from cableway.flow.bloc import StageBloc
from cableway.flow.lanes.protocol import HandlerFactory, UnitCall, UnitResult, WorkerPool
from cableway.flow.sizes import size_of

if TYPE_CHECKING:
    from cableway.flow.lanes.thread import ThreadPool
    from cableway.flow.stage import Stage
    from cableway.items import WorkItem


class Unit(Protocol):
    """What the stage's workers know of a bloc."""

    bloc: StageBloc
    with_times: bool
    """Whether results carry the times of the handler itself, because it may have waited in a pool."""

    lean_handler: Callable[..., Any] | None
    """The coroutine function itself, where nothing has to be done around it."""

    def window(self) -> int:
        """How many items the bloc can have in its hands now."""
        ...

    async def attempt(self, item: WorkItem, attempt: int) -> UnitResult:
        """Work on *item* once. Raise what the handler raised."""
        ...


class AsyncUnit:
    """A handler on the loop."""

    with_times = False

    def __init__(self, stage: Stage, bloc: StageBloc, shared: Mapping[str, Any]) -> None:
        self.bloc = bloc
        self._stage = stage
        self._handler = built(bloc, shared)
        self._max_bytes = stage.config.max_item_bytes
        bare = bloc.select is None and bloc.timeout_s is None and bloc.retry is None
        self.lean_handler = self._handler if bare and inspect.iscoroutinefunction(self._handler) else None

    def window(self) -> int:
        """As many as the stage has workers."""
        return self._stage.config.workers

    async def attempt(self, item: WorkItem, attempt: int) -> UnitResult:
        """Await the handler, on a leash where it has a time limit."""
        now_ns = self._stage.now_ns
        select = self.bloc.select
        began = now_ns()
        value = self._handler(item if select is None else select(item))
        if inspect.isawaitable(value):
            if self.bloc.timeout_s is None:
                value = await value
            else:
                value = await within(self.bloc.timeout_s, value, self._stage.left_behind)
        if self._max_bytes is not None:
            check_size(value, self._max_bytes)
        return UnitResult(value, began, now_ns())


class ThreadUnit:
    """A handler in one of the stage's own threads."""

    with_times = False
    lean_handler: Callable[..., Any] | None = None

    def __init__(self, stage: Stage, bloc: StageBloc, pool: ThreadPool, shared: Mapping[str, Any]) -> None:
        self.bloc = bloc
        self.pool = pool
        self._stage = stage
        self._handler = built(bloc, shared)
        self._max_bytes = stage.config.max_item_bytes

    def window(self) -> int:
        """As many as there are threads."""
        return self._stage.config.workers

    async def attempt(self, item: WorkItem, attempt: int) -> UnitResult:
        """Have a thread call the handler; a generator it returns is pulled in a thread too."""
        select = self.bloc.select
        call = await self.pool.call(self._handler, item if select is None else select(item), self.bloc.timeout_s)
        if self._max_bytes is not None:
            check_size(call.value, self._max_bytes)
        return UnitResult(call.value, call.started_ns, call.finished_ns)


class PoolUnit:
    """A handler in a child process, in an interpreter or on a cluster."""

    with_times = True
    lean_handler: Callable[..., Any] | None = None

    def __init__(self, stage: Stage, bloc: StageBloc, pool: WorkerPool, *, wants_metadata: bool) -> None:
        self.bloc = bloc
        self.pool = pool
        self._stage = stage
        self._wants_metadata = wants_metadata

    def window(self) -> int:
        """As many as the pool wants."""
        return self.pool.window

    async def attempt(self, item: WorkItem, attempt: int) -> UnitResult:
        """Hand the item's data over and await what comes back."""
        stage, bloc = self._stage, self.bloc
        call = UnitCall(
            job_id=item.job_id,
            data=item.data if bloc.select is None else bloc.select(item),
            metadata=notes_of(item, stage.name, attempt) if self._wants_metadata else None,
            carrier=stage.audience.carrier(item, stage.name, bloc.name),
            timeout_s=bloc.timeout_s,
        )
        return await self.pool.run(call)


def notes_of(item: WorkItem, stage: str, attempt: int) -> dict[str, Any]:
    """What a handler in a child is told about its item: plain values only."""
    metadata = item.metadata
    return {
        "job_id": item.job_id,
        "created": metadata.created.isoformat(),
        "current_stage": stage,
        "attempt": attempt,
        "custom_metadata": dict(metadata.custom_metadata),
    }


def built(bloc: StageBloc, shared: Mapping[str, Any]) -> Callable[..., Any]:
    """The bloc's handler for this process: a factory is called here as it would be in a child."""
    handler = bloc.handler
    if isinstance(handler, HandlerFactory):
        module, _, name = handler.path.partition(":")
        factory = getattr(import_module(module), name)
        made: Callable[..., Any] = factory(*handler.args, shared)
        return made
    return handler


def check_size(value: Any, max_bytes: int) -> None:
    """Raise `ItemError` ``too_large`` when *value* holds more than *max_bytes*."""
    data = getattr(value, "data", value) if type(value).__name__ == "WorkItem" else value
    size = size_of(data)
    if size > max_bytes:
        raise ItemError("too_large", f"the result holds about {size} bytes, and {max_bytes} are allowed")


async def set_up(setup: Callable[[], Any]) -> None:
    """Run a stage's setup on the loop; it may be async."""
    made = setup()
    if isinstance(made, Awaitable):
        await made
