"""What is asked for before it is wanted comes in order, and asking ends."""

from __future__ import annotations

import asyncio

import pytest

from cableway.blocs.http.ahead import Ahead


class Server:
    """Answers a number with itself once it is let; *bad* ones with an error."""

    def __init__(self, bad: int | None = None) -> None:
        self.asked: list[int] = []
        self.at_once = self.most_at_once = 0
        self._bad = bad

    async def answer(self, number: int) -> int:
        self.asked.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        for _ in range(number % 3):  # out of order
            await asyncio.sleep(0)
        self.at_once -= 1
        if number == self._bad:
            raise ValueError(number)
        return number


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_answers_come_in_order_and_no_more_are_asked_for_at_once() -> None:
    server = Server()
    async with Ahead(server.answer, first=1, end=40, most=4) as ahead:
        assert [await ahead.take() for _ in range(1, 40)] == list(range(1, 40))
        with pytest.raises(LookupError):
            await ahead.take()
    assert sorted(server.asked) == list(range(1, 40))
    assert server.most_at_once == 4


async def test_what_nobody_takes_is_bounded() -> None:
    server = Server()
    async with Ahead(server.answer, first=1, end=1000, most=4) as ahead:
        await settled()
        assert len(server.asked) == 8
        await ahead.take()
        await settled()
        assert len(server.asked) == 9


async def test_an_error_comes_in_its_place_and_ends_the_asking() -> None:
    server = Server(bad=5)
    async with Ahead(server.answer, first=1, end=1000, most=2) as ahead:
        assert [await ahead.take() for _ in range(1, 5)] == [1, 2, 3, 4]
        with pytest.raises(ValueError, match="5"):
            await ahead.take()
        await settled()
    assert max(server.asked) <= 6


async def test_an_error_that_nobody_takes_is_no_complaint() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    server = Server(bad=2)
    async with Ahead(server.answer, first=1, end=1000, most=4):
        await settled()
    del server
    await settled()
    assert complaints == []


@pytest.mark.parametrize("end", [0, 1])
async def test_nothing_to_ask_for_asks_for_nothing(end: int) -> None:
    server = Server()
    async with Ahead(server.answer, first=1, end=end, most=4):
        await settled()
    assert server.asked == []
