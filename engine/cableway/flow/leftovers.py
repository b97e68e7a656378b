"""What handlers have left running when their run is over: said, and left to whoever started it."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar

log = logging.getLogger("cableway.flow")

# Tasks inherit the context of the worker in which a handler made them, and so carry the run's mark.
_within: ContextVar[object | None] = ContextVar("cableway_run", default=None)


class Leftovers:
    """Knows what ran before the run, and what still runs after it."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())

    def mark(self) -> None:
        """What is made in this task's context from now on, by workers and their handlers, is the run's."""
        _within.set(self)

    def tell(self) -> None:
        """Warn of tasks and of threads that would keep the process alive."""
        tasks = [task for task in asyncio.all_tasks() if _made_within(task) is self and not task.done()]
        mine = asyncio.current_task()
        names = sorted(_name(task) for task in tasks if task is not mine)
        if names:
            log.warning("handlers have left %d tasks running: %s", len(names), ", ".join(names[:5]))
        threads = [one for one in threading.enumerate() if one not in self._threads and not one.daemon]
        if threads:
            listed = ", ".join(sorted(thread.name for thread in threads)[:5])
            log.warning("handlers have left %d threads running, which keep the process alive: %s", len(threads), listed)


def _made_within(task: asyncio.Task[object]) -> object | None:
    context = getattr(task, "get_context", None)  # Python 3.12 and later
    return None if context is None else context().get(_within)


def _name(task: asyncio.Task[object]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))
