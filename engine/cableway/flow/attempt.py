"""One attempt at an awaitable: in time or abandoned, and never more than that attempt's failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from cableway.errors import ItemError, RunFailedError
from cableway.flow.leash import Leash, close, leashed

# How long a cancelled handler may take to clean up before it is abandoned.
CLEANUP_S = 0.25


class SetupError(RunFailedError):
    """A stage's setup raised in a worker, so none of its units can run."""


def is_ours(error: BaseException) -> bool:
    """Whether *error* ends the worker that runs the handler, and is not the handler's own failure."""
    if isinstance(error, GeneratorExit):
        return True
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return False


def failure(error: BaseException) -> BaseException:
    """The item's failure for what a handler raised; a cancellation from inside is named as such."""
    if isinstance(error, asyncio.CancelledError):
        return ItemError("handler", "the handler was cancelled from inside", error_type="CancelledError")
    return error


def too_slow(timeout_s: float) -> ItemError:
    """The failure of a unit that took too long."""
    return ItemError("timeout", f"took longer than {timeout_s:g} s")


async def _caught(awaitable: Awaitable[Any]) -> tuple[bool, Any]:
    # A task that ends with SystemExit or KeyboardInterrupt would take the event loop with it.
    try:
        return True, await awaitable
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        return False, error


async def within(timeout_s: float, awaitable: Awaitable[Any], abandoned: Callable[[], None]) -> Any:
    """Await *awaitable* for at most *timeout_s* seconds, else raise `ItemError` ``timeout``.

    It is cancelled then; when it swallows that, it is let go of, *abandoned* is called, and the caller
    goes on all the same.
    """
    leash, attempt = Leash(), _caught(awaitable)
    task = asyncio.get_running_loop().create_task(leashed(attempt, leash))

    def let_go(_: object) -> None:  # a task cancelled before its first step began neither of them
        close(attempt)
        if isinstance(awaitable, Coroutine):
            close(cast("Coroutine[Any, Any, Any]", awaitable))

    task.add_done_callback(let_go)
    try:
        done, _ = await asyncio.wait((task,), timeout=timeout_s)
    except asyncio.CancelledError:
        await end(task, leash, abandoned)
        raise
    if not done:
        await end(task, leash, abandoned)
        raise too_slow(timeout_s)
    if task.cancelled():
        raise asyncio.CancelledError
    good, value = task.result()
    if good:
        return value
    raise value


async def end(task: asyncio.Task[Any], leash: Leash, abandoned: Callable[[], None]) -> None:
    """Cancel *task*, wait a moment for its cleaning up, then let go of it."""
    task.cancel()
    await asyncio.wait((task,), timeout=CLEANUP_S)
    if not task.done():
        abandoned()
        leash.let_go = True
        task.cancel()
