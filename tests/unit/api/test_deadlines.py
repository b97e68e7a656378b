"""Limits that share a timer: who is ended, when, and by whom else a task may be ended."""

from __future__ import annotations

import asyncio

import pytest

from cableway_handlers.api.hooks.deadlines import Deadlines


async def forever(deadlines: Deadlines) -> None:
    with deadlines.deadline():
        await asyncio.Event().wait()


async def test_what_takes_too_long_ends_with_a_timeout_and_the_rest_goes_on() -> None:
    deadlines = Deadlines(0.01)
    slow = [asyncio.create_task(forever(deadlines)) for _ in range(3)]
    with deadlines.deadline():
        await asyncio.sleep(0)
    assert [type(end) for end in await asyncio.gather(*slow, return_exceptions=True)] == [TimeoutError] * 3
    # The timer is set anew for those that come later.
    with pytest.raises(TimeoutError):
        await forever(deadlines)


async def test_a_task_that_somebody_else_cancels_is_cancelled() -> None:
    deadlines = Deadlines(60)
    task = asyncio.create_task(forever(deadlines))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_cancel_it() -> None:
    deadlines = Deadlines(0)
    task = asyncio.create_task(forever(deadlines))
    await asyncio.sleep(0)  # it waits now, and its time is up
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass_and_an_end_in_time_leaves_the_task_alone() -> None:
    deadlines = Deadlines(0.01)
    with pytest.raises(ValueError, match="ours"), deadlines.deadline():
        raise ValueError("ours")
    with deadlines.deadline():
        pass
    # One that began later is over: a limit that was left behind would have ended us before.
    (later,) = await asyncio.gather(asyncio.create_task(forever(deadlines)), return_exceptions=True)
    assert isinstance(later, TimeoutError)


def test_another_loop_may_use_it_after_the_first_has_ended() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(forever(deadlines))


async def test_it_needs_a_task() -> None:
    caught: list[RuntimeError] = []

    def outside() -> None:
        try:
            with Deadlines(1).deadline():
                pass
        except RuntimeError as error:
            caught.append(error)

    asyncio.get_running_loop().call_soon(outside)
    await asyncio.sleep(0)
    assert "task" in str(caught[0])
