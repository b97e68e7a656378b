"""Answers that can be asked for by number, asked for before they are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """What *ask* answers to numbers from *first* up to *end*, that one not included.

    *most* are being asked for at once. Whoever asks goes on to the next number before anybody looks at the answer, so
    that the server never waits for us; as many answers again as are on their way may wait to be taken. Beyond a number
    whose answer is an error, no other is asked for.
    """

    def __init__(self, ask: Callable[[int], Awaitable[T]], *, first: int, end: int, most: int) -> None:
        self._ask = ask
        self._asked = self._taken = first
        self._end = end
        self._room = asyncio.Semaphore(2 * most)
        self._answers: dict[int, asyncio.Future[T]] = {}
        self._most = min(most, end - first)
        self._askers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._askers = [asyncio.create_task(self._work()) for _ in range(self._most)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for asker in self._askers:
            asker.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)
        for answer in self._answers.values():
            if not answer.cancel():
                answer.exception()  # nobody wants it any more, and asyncio would complain of that

    async def take(self) -> T:
        """The next answer by number. Raise what asking for it raised, and `LookupError` beyond the end."""
        number = self._taken
        if number >= self._end:
            raise LookupError(number)
        self._taken += 1
        answer = await self._answer(number)
        del self._answers[number]
        self._room.release()
        return answer

    async def _work(self) -> None:
        while True:
            await self._room.acquire()
            number = self._asked
            if number >= self._end:
                return
            self._asked += 1
            answer = self._answer(number)
            try:
                answer.set_result(await self._ask(number))
            except Exception as error:  # noqa: BLE001 - whoever takes it is told
                self._end = min(self._end, number + 1)
                answer.set_exception(error)

    def _answer(self, number: int) -> asyncio.Future[T]:
        if number not in self._answers:
            self._answers[number] = asyncio.get_running_loop().create_future()
        return self._answers[number]
