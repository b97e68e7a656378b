"""Calls that block, in a daemon thread of their own: one that hangs holds up neither the loop nor the process's end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def aside(function: Callable[..., T], *args: Any, name: str | None = None) -> T:
    """Call *function* in a thread, under *name*. Cancelling this leaves the call behind, and nobody hears of it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def call() -> None:
        value, error = None, None
        try:
            value = function(*args)
        except Exception as raised:  # noqa: BLE001 - it is raised again where the call is awaited
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    name = name or getattr(function, "__name__", "call").lstrip("_")
    threading.Thread(target=call, name=f"cableway-{name}", daemon=True).start()
    return await done
