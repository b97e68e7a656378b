"""
Coroutines that can be let go of.

Cancelling a task only asks: a handler that swallows the cancellation goes on, and `asyncio.run` would
wait for it for ever. A coroutine run by `leashed` can be abandoned instead: once `Leash.let_go` is set,
the next cancellation ends the task without going through the coroutine, which is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Leash:
    """Held by whoever may have to let a coroutine go."""

    __slots__ = ("let_go",)

    def __init__(self) -> None:
        self.let_go = False


async def leashed(coro: Coroutine[Any, Any, T], leash: Leash) -> T:
    """Run *coro*; when *leash* is let go, the next cancellation ends this at once."""
    value: T = await _drive(coro, leash)
    return value


@coroutine
def _drive(coro: Coroutine[Any, Any, Any], leash: Leash) -> Generator[Any, Any, Any]:
    step: Callable[[Any], Any] = coro.send
    argument: Any = None
    while True:
        try:
            waiting_for = step(argument)
        except StopIteration as stop:
            return stop.value
        step, argument = coro.send, None
        try:
            argument = yield waiting_for
        except GeneratorExit:
            close(coro)
            raise
        except BaseException as error:
            if leash.let_go:
                close(coro)
                raise asyncio.CancelledError from None
            step, argument = coro.throw, error


def close(coro: Coroutine[Any, Any, Any]) -> None:
    """End *coro* where it stands; what it raises on the way, or that it refuses, is nobody's concern."""
    with contextlib.suppress(BaseException):
        coro.close()
