"""The records of deliveries are stored together, and none is left behind by whoever ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cableway_handlers.api.hooks.records import Keeper

RECORD: Any = object()


@pytest.mark.parametrize("how", ["close", "flush"])
async def test_what_is_being_stored_is_waited_for(how: str) -> None:
    begun, go_on, stored = asyncio.Event(), asyncio.Event(), list[Any]()

    async def write(records: list[Any]) -> None:
        begun.set()
        await go_on.wait()
        stored.extend(records)

    keeper = Keeper(write, pause_s=0)
    keeper.add(RECORD)
    await begun.wait()
    ending = asyncio.create_task(getattr(keeper, how)())
    await asyncio.sleep(0)
    assert not ending.done()
    go_on.set()
    await ending
    assert stored == [RECORD]


async def test_closing_waits_for_no_pause() -> None:
    stored = list[Any]()

    async def write(records: list[Any]) -> None:
        stored.extend(records)

    keeper = Keeper(write, pause_s=3600)
    keeper.add(RECORD)
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
        await keeper.close()
    assert stored == [RECORD]
