"""
Questions that wait are answered together, by one statement and one commit.

Without load a question waits for nobody. Under load a group takes half of those who wait: while the database works
for them, the loop works for the others, and neither waits for the other side. The backlog is bounded: beyond it, and
beyond the deadline, a caller is told to come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from cableway.errors import CablewayError, UnavailableError

MAX_GROUP = 256
"""Questions that are answered together."""
SMALL_GROUP = 32
"""As many as may go together although that leaves nobody waiting."""
MAX_BACKLOG = 2048
"""Questions that may wait."""

_log = logging.getLogger("cableway.api")
_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class Groups(Generic[_Question, _Answer]):
    """Puts questions together for *answer*, which gives an answer or an error for each, in their order.

    *lanes* groups are worked on at once. What *answer* raises is raised to each of its group.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[_Question]], Awaitable[Sequence[_Answer | Exception]]],
        *,
        lanes: int = 1,
        most: int = MAX_GROUP,
        backlog: int = MAX_BACKLOG,
    ) -> None:
        self._answer = answer
        self._idle = lanes
        self._most = most
        self._backlog = backlog
        self._waiting: deque[tuple[_Question, asyncio.Future[_Answer]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, question: _Question) -> _Answer:
        """The answer. Raise `UnavailableError` at once where too many wait."""
        if len(self._waiting) >= self._backlog:
            raise UnavailableError("Too many requests wait for the database. Ask again.")
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._idle:
            self._idle -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def drain(self) -> None:
        """Return when nothing waits any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _work(self) -> None:
        try:
            while group := self._next():
                await self._answer_all(group)
        finally:
            self._idle += 1

    def _next(self) -> list[tuple[_Question, asyncio.Future[_Answer]]]:
        group: list[tuple[_Question, asyncio.Future[_Answer]]] = []
        most = min(self._most, max(SMALL_GROUP, len(self._waiting) // 2))
        while self._waiting and len(group) < most:
            asked = self._waiting.popleft()
            if not asked[1].done():
                group.append(asked)
        return group

    async def _answer_all(self, group: Sequence[tuple[_Question, asyncio.Future[_Answer]]]) -> None:
        try:
            answers: Sequence[_Answer | Exception] = await self._answer([question for question, _ in group])
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            if not isinstance(error, CablewayError):
                _log.exception("a group of %d failed", len(group))
            answers = [error] * len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
