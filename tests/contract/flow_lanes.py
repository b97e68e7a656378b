"""One handler in every lane: what the flow's contract suites share."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

from cableway import ExecutionType, StageConfig, WorkItem
from tests import need
from tests.contract import flow_handlers as handlers

LANES = tuple(ExecutionType)
CHILDREN = tuple(lane for lane in LANES if lane.in_child)


def check_lane(lane: ExecutionType) -> None:
    """Skip where this Python has no such lane."""
    if lane is ExecutionType.INTERPRETER:
        need.python(3, 14)


def stage(lane: ExecutionType, address: str | None = None, **settings: Any) -> StageConfig:
    """A stage in this lane, with few workers and a short queue unless told otherwise."""
    there: dict[str, Any] = {"options": {"address": address}} if lane is ExecutionType.DASK else {}
    usual: dict[str, Any] = {"name": "only", "workers": 2, "queue_size": 4, "execution_type": lane}
    return StageConfig(**{**usual, **there, **settings})


def in_lane(lane: ExecutionType, handler: Callable[..., Any]) -> Callable[..., Any]:
    """*handler*, which takes what a child's does, as this lane takes it."""
    if lane.in_child:
        return handler
    tries: Counter[str] = Counter()
    gentle: Callable[..., Any] = handlers.ON_LOOP.get(handler, handler)
    with_metadata = len(inspect.signature(handler).parameters) == 3

    def arguments(item: WorkItem) -> tuple[Any, ...]:
        tries[item.job_id] += 1
        notes = {"attempt": tries[item.job_id], "custom_metadata": item.metadata.custom_metadata}
        return (item.job_id, item.data, notes) if with_metadata else (item.job_id, item.data)

    def in_thread(item: WorkItem) -> Any:
        return handler(*arguments(item))

    async def on_loop(item: WorkItem) -> Any:
        value = gentle(*arguments(item))
        return await value if inspect.isawaitable(value) else value

    return on_loop if lane is ExecutionType.ASYNC else in_thread
