"""Starts a pool for a test and ends it, and hears what it tells."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cableway.errors import ItemError
from cableway.flow.config import ExecutionType
from cableway.flow.lanes.pools import make_pool
from cableway.flow.lanes.protocol import PoolConfig, UnitCall, WorkerPool

PROMPT_S = 8.0
"""Seconds beyond its time limit after which a unit's failure is late; a quiet machine needs less than two."""


class Heard:
    """What a pool told beside results."""

    def __init__(self) -> None:
        self.deaths: list[tuple[str, list[str]]] = []
        self.reports: list[Any] = []

    def worker_died(self, reason: str, jobs: Sequence[str]) -> None:
        self.deaths.append((reason, list(jobs)))

    def worker_reported(self, report: Sequence[Any]) -> None:
        self.reports.extend(report)


def config(handler: Any, **settings: Any) -> PoolConfig:
    known: dict[str, Any] = {"stage": "crunch", "bloc": "one", "handler": handler, "workers": 2}
    return PoolConfig(**known | settings)


@asynccontextmanager
async def running(
    lane: str, handler: Any, *, heard: Heard | None = None, **settings: Any
) -> AsyncGenerator[WorkerPool]:
    pool = make_pool(ExecutionType(lane), config(handler, **settings), heard or Heard())
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close(5.0)


async def value(pool: WorkerPool, data: Any, *, job_id: str = "j", **settings: Any) -> Any:
    return (await pool.run(UnitCall(job_id, data, **settings))).value


async def values(pool: WorkerPool, inputs: Sequence[Any], **settings: Any) -> list[Any]:
    return await asyncio.gather(*[value(pool, data, job_id=f"j{n}", **settings) for n, data in enumerate(inputs)])


async def failure(pool: WorkerPool, data: Any, **settings: Any) -> ItemError:
    try:
        got = await value(pool, data, **settings)
    except ItemError as error:
        return error
    raise AssertionError(f"it gave {got!r}")


class Fifo:
    """A named pipe by which a handler says that it has begun: it writes its process id there."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    async def heard(self) -> int:
        await _readable(self._fd)
        pid = int(os.read(self._fd, 100))
        os.close(self._fd)
        return pid


async def until_gone(pid: int) -> None:
    """Wait until the process has ended, whoever's child it is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await _readable(handle)
    finally:
        os.close(handle)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not there.done():
            there.set_result(None)

    loop.add_reader(fd, tell)
    try:
        async with asyncio.timeout(30):
            await there
    finally:
        loop.remove_reader(fd)
