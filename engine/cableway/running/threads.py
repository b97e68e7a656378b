"""Work that blocks, beside the event loop: in a daemon thread of its own, which nobody ever has to wait for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from cableway.aside import aside
from cableway.errors import RunFailedError

T = TypeVar("T")

LEFTOVERS_S = 0.5
"""Seconds that tasks which somebody left behind get to end in, once they are cancelled."""


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` that does not wait for ever for what others leave behind: tasks, or calls in its thread pool."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LEFTOVERS_S))
        with suppress(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), LEFTOVERS_S))
        loop.close()


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call *function* as `aside` does; where it wants to end the process, it ends its run."""
    return await aside(_guarded, function, args, name=getattr(function, "__name__", "call"))


def _guarded(function: Callable[..., T], args: tuple[Any, ...]) -> T:
    try:
        return function(*args)
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001 - around somebody's code, as around a handler
        raise _as_failure(error) from None


async def called(method: Callable[..., Any], *args: Any) -> Any:
    """What *method* gives: awaited here where it is async, else called in a thread."""
    if not inspect.iscoroutinefunction(method):
        value = await in_thread(method, *args)
        return await value if inspect.isawaitable(value) else value
    try:
        return await method(*args)
    except (SystemExit, KeyboardInterrupt) as error:
        raise _as_failure(error) from None


def _as_failure(error: BaseException) -> RunFailedError:
    """A bloc that wants to end the process ends its run."""
    return RunFailedError(f"{type(error).__name__} was raised by a bloc")
