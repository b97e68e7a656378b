"""The one queue protocol, kept by the loop's own channel, its weighed kind, and the crossing to threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cableway.flow.channel import Channel, ChannelEndedError, LoopChannel
from cableway.flow.lanes.crossing import ThreadChannel
from cableway.flow.sizes import WeighedChannel

Make = Callable[[int], Channel]

KINDS: dict[str, Make] = {
    "loop": LoopChannel,
    "weighed": lambda size: WeighedChannel(size, 10**9),
    "thread": ThreadChannel,
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


async def fill(queue: Channel, *items: Any) -> None:
    for item in items:
        await queue.put(item)


async def drain(queue: Channel) -> list[Any]:
    """Everything up to the end."""
    taken: list[Any] = []
    while True:
        try:
            taken.append(await queue.get())
        except ChannelEndedError:
            return taken


async def waits(task: asyncio.Future[Any]) -> bool:
    """Whether *task* still waits after everybody had a turn."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not task.done()


def task_of(awaitable: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.ensure_future(awaitable)
    return task


async def test_items_come_out_in_the_order_in_which_they_went_in(make: Make) -> None:
    queue = make(100)
    await fill(queue, *range(50))
    assert len(queue) == 50
    queue.close()
    assert await drain(queue) == list(range(50))


async def test_a_full_queue_lets_its_giver_wait(make: Make) -> None:
    queue = make(2)
    await fill(queue, 1, 2)
    third = task_of(queue.put(3))
    assert await waits(third)
    assert await queue.get() == 1
    await asyncio.wait_for(third, 5)
    queue.close()
    assert await drain(queue) == [2, 3]


async def test_an_empty_queue_lets_its_taker_wait(make: Make) -> None:
    queue = make(2)
    taker = task_of(queue.get())
    assert await waits(taker)
    await queue.put(1)
    assert await asyncio.wait_for(taker, 5) == 1


async def test_what_is_inside_can_be_taken_after_the_end_and_nothing_more_comes(make: Make) -> None:
    queue = make(5)
    await fill(queue, 1, 2)
    queue.close()
    with pytest.raises(ChannelEndedError):
        await queue.put(3)
    assert await drain(queue) == [1, 2]
    with pytest.raises(ChannelEndedError):
        await queue.get()


async def test_the_end_calls_all_that_wait(make: Make) -> None:
    takers_of, givers_to = make(1), make(1)
    await givers_to.put(0)
    takers = [task_of(takers_of.get()) for _ in range(3)]
    givers = [task_of(givers_to.put(number)) for number in range(3)]
    assert await waits(takers[0])
    takers_of.close()
    givers_to.close()
    ended = await asyncio.wait_for(asyncio.gather(*takers, *givers, return_exceptions=True), 5)
    assert [type(error) for error in ended] == [ChannelEndedError] * 6
    assert await drain(givers_to) == [0]


async def test_ending_twice_is_ending(make: Make) -> None:
    queue = make(1)
    queue.close()
    queue.close()
    assert await drain(queue) == []


async def test_a_taker_that_is_cancelled_takes_nothing_with_it(make: Make) -> None:
    queue = make(5)
    takers = [task_of(queue.get()) for _ in range(3)]
    assert await waits(takers[0])
    await queue.put("one")  # the first is called, and cancelled before it has run
    takers[0].cancel()
    takers[1].cancel()
    await asyncio.wait(takers[:2])
    taken = [task.result() for task in takers[:2] if not task.cancelled()]
    taken += [await asyncio.wait_for(takers[2], 5)] if not taken else []
    assert taken == ["one"]
    for task in takers:
        task.cancel()


async def test_a_giver_that_is_cancelled_has_given_once_or_not_at_all(make: Make) -> None:
    queue = make(1)
    await queue.put(0)
    first, second = task_of(queue.put(1)), task_of(queue.put(2))
    assert await waits(first)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert await queue.get() == 0
    await asyncio.wait_for(second, 5)
    queue.close()
    assert await drain(queue) == [2]


async def test_room_that_a_cancelled_giver_was_called_for_is_not_lost(make: Make) -> None:
    queue = make(1)
    await queue.put(0)
    givers = [task_of(queue.put(number)) for number in (1, 2)]
    assert await waits(givers[0])
    assert await queue.get() == 0  # calls the first giver
    givers[0].cancel()
    await asyncio.wait([givers[0]])
    taken = [await asyncio.wait_for(queue.get(), 5)]
    if not givers[0].cancelled() and taken == [1]:
        taken.append(await asyncio.wait_for(queue.get(), 5))
    await asyncio.wait_for(givers[1], 5)
    assert taken[-1] == 2 or await queue.get() == 2


@pytest.mark.parametrize("size", [1, 3])
async def test_many_givers_and_takers_lose_and_double_nothing(make: Make, size: int) -> None:
    queue = make(size)

    async def give(start: int) -> None:
        await fill(queue, *range(start, start + 100))

    takers = [task_of(drain(queue)) for _ in range(3)]
    async with asyncio.timeout(20):
        await asyncio.gather(*[give(start) for start in (0, 100, 200)])
        queue.close()
        taken = await asyncio.gather(*takers)
    assert sorted(item for each in taken for item in each) == list(range(300))


# What the crossing adds: both of its sides.


@pytest.mark.parametrize("size", [1, 5])
async def test_a_thread_gives_and_the_loop_takes(size: int) -> None:
    queue = ThreadChannel(size)

    def give() -> None:
        for number in range(200):
            queue.put_sync(number)
        queue.close()

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    assert await asyncio.wait_for(drain(queue), 20) == list(range(200))
    giver.join(5)
    assert not giver.is_alive()


async def test_the_loop_gives_and_threads_take() -> None:
    queue = ThreadChannel(3)
    taken: list[int] = []

    def take() -> None:
        while True:
            try:
                taken.append(queue.get_sync())
            except ChannelEndedError:
                return

    takers = [threading.Thread(target=take, daemon=True) for _ in range(2)]
    for taker in takers:
        taker.start()
    await asyncio.wait_for(fill(queue, *range(200)), 20)
    queue.close()
    for taker in takers:
        await asyncio.to_thread(taker.join, 5)
    assert sorted(taken) == list(range(200))


async def test_the_end_calls_threads_too() -> None:
    empty, full = ThreadChannel(1), ThreadChannel(1)
    await full.put(0)
    ended: list[str] = []

    def wait_for(what: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except ChannelEndedError:
            ended.append(what)

    threads = [
        threading.Thread(target=wait_for, args=("take", empty.get_sync), daemon=True),
        threading.Thread(target=wait_for, args=("give", lambda: full.put_sync(1)), daemon=True),
    ]
    for thread in threads:
        thread.start()
    empty.close()
    full.close()
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert sorted(ended) == ["give", "take"]


def test_without_a_bound_anybody_may_give_at_once() -> None:
    queue = ThreadChannel(0)
    assert [queue.put_nowait(number) for number in range(1000)] == [True] * 1000
    queue.close()
    assert queue.put_nowait(0) is False
