"""Work that blocks, beside the event loop: in a daemon thread of its own, which nobody ever has to wait for."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

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
    """Call *function* in a thread. Cancelling this leaves the call behind; it goes on and nobody hears of it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def call() -> None:
        value, error = _result_of(function, args)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=call, name=f"cableway-{getattr(function, '__name__', 'call')}", daemon=True).start()
    return await done


def _result_of(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001 - it is raised again where the call is awaited
        return None, error
    except BaseException as error:  # noqa: BLE001 - around somebody's code, as around a handler
        return None, _as_failure(error)


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
