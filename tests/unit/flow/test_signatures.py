"""A handler that does not fit its lane is refused when it is registered."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from cableway.flow.config import ExecutionType
from cableway.flow.signatures import wants_metadata

ASYNC, THREAD, PROCESS = ExecutionType.ASYNC, ExecutionType.THREAD, ExecutionType.PROCESS


async def on_loop(item: Any) -> Any: ...
async def many(item: Any) -> AsyncIterator[Any]:
    yield item


async def two_on_loop(item: Any, other: Any) -> Any: ...
def in_thread(item: Any) -> Any: ...
def in_child(job_id: str, data: Any) -> Any: ...
def with_metadata(job_id: str, data: Any, metadata: Any) -> Any: ...
def with_default(job_id: str, data: Any, factor: int = 2) -> Any: ...
def with_optional_metadata(job_id: str, data: Any, metadata: Any = None) -> Any: ...


class Callable:
    async def __call__(self, item: Any) -> Any: ...
    async def method(self, item: Any) -> Any: ...


class Inherits(Callable): ...


@pytest.mark.parametrize(
    ("lane", "handler", "metadata"),
    [
        (ASYNC, on_loop, False),
        (ASYNC, many, False),
        (ASYNC, Inherits(), False),
        (ASYNC, Callable().method, False),
        (ASYNC, partial(two_on_loop, other=1), False),
        (THREAD, in_thread, False),
        (THREAD, lambda item: item, False),
        (PROCESS, in_child, False),
        (PROCESS, with_default, False),
        (PROCESS, with_metadata, True),
        (PROCESS, with_optional_metadata, True),
        (ExecutionType.INTERPRETER, in_child, False),
        (ExecutionType.DASK, lambda _, data: data, False),
    ],
)
def test_what_fits(lane: ExecutionType, handler: Any, metadata: bool) -> None:
    assert wants_metadata("s", lane, handler) is metadata


@pytest.mark.parametrize(
    ("lane", "handler", "message"),
    [
        (ASYNC, in_thread, "the async lane needs `async def in_thread"),
        (THREAD, on_loop, "the thread lane needs a plain `def`"),
        (PROCESS, on_loop, "the process lane needs a plain `def`"),
        (ASYNC, two_on_loop, "takes the item alone"),
        (THREAD, in_child, "takes the item alone"),
        (PROCESS, in_thread, r"in_thread\(job_id, data\)"),
        (PROCESS, lambda _, data: data, "at the top of its module"),
        (ASYNC, "handler", "must be callable, not str"),
    ],
)
def test_what_does_not(lane: ExecutionType, handler: Any, message: str) -> None:
    with pytest.raises(TypeError, match=rf"stage 's': .*{message}"):
        wants_metadata("s", lane, handler)
