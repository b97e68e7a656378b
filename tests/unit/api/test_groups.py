"""Questions that are answered together: which wait for which, how many, and what a failure is to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cableway.errors import UnavailableError
from cableway_handlers.api.hooks.groups import Groups


class Answers:
    """Doubles numbers, a group at a time, when it is let."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.let = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(numbers))
        await self.let.wait()
        if 13 in numbers:
            raise UnavailableError("13")
        return [ValueError(str(number)) if number < 0 else number * 2 for number in numbers]


async def begun(asked: Sequence[asyncio.Task[int]], answers: Answers, groups: int = 1) -> None:
    while len(answers.groups) < groups:  # noqa: ASYNC110 - the loop itself is what is waited for
        await asyncio.sleep(0)
    assert not any(task.done() for task in asked)


def ask(groups: Groups[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(groups.ask(number)) for number in numbers]


async def test_what_waits_is_answered_together() -> None:
    answers = Answers()
    groups = Groups(answers)
    first = ask(groups, [1])
    await begun(first, answers)
    rest = ask(groups, range(2, 7))
    await asyncio.sleep(0)
    answers.let.set()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8, 10, 12]
    assert answers.groups == [[1], [2, 3, 4, 5, 6]]
    await groups.drain()
    assert await groups.ask(7) == 14


async def test_a_group_has_its_bounds_and_lanes_work_side_by_side() -> None:
    answers = Answers()
    groups = Groups(answers, lanes=2, most=3)
    asked = ask(groups, range(10))
    await begun(asked, answers, groups=2)
    answers.let.set()
    assert await asyncio.gather(*asked) == [number * 2 for number in range(10)]
    assert [len(group) for group in answers.groups] == [3, 3, 3, 1]


async def test_beyond_the_backlog_nobody_waits() -> None:
    answers = Answers()
    groups = Groups(answers, backlog=2)
    first = ask(groups, [0])
    await begun(first, answers)
    asked = ask(groups, [1, 2])
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await groups.ask(3)
    answers.let.set()
    assert await asyncio.gather(*first, *asked) == [0, 2, 4]


async def test_each_hears_of_its_own_failure() -> None:
    answers = Answers()
    answers.let.set()
    groups = Groups(answers)
    good, bad = ask(groups, [1, -1])
    assert await good == 2
    with pytest.raises(ValueError, match="-1"):
        await bad
    for task in ask(groups, [13, 5]):
        with pytest.raises(UnavailableError):
            await task
    assert await groups.ask(5) == 10


async def test_who_has_left_is_not_asked_for() -> None:
    answers = Answers()
    groups = Groups(answers)
    (first,) = ask(groups, [1])
    await begun([first], answers)
    gone, stayed = ask(groups, [2, 3])
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    answers.let.set()
    assert await stayed == 6
    assert answers.groups == [[1], [3]]
    assert await first == 2
