"""One implementation's pass through three stages that do nothing; prints seconds, and CPU seconds, as JSON.

Run by the interpreter that has the implementation: ``hops.py NAME ITEMS``. Knows no Cableway unless NAME says so.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

STAGES, WORKERS, QUEUE = 3, 10, 1_000


async def keep(item: Any) -> Any:
    return item


async def keep_first(item: Any, *_: Any) -> Any:
    return item


def keep_in_thread(item: Any) -> Any:
    return item


def engine(module: Any, *, tracking: bool, refresh: float = 0.0, lane: str = "ASYNC", observer: bool = False) -> Any:
    stages = [
        module.StageConfig(
            name=f"s{number}", workers=WORKERS, queue_size=QUEUE, execution_type=getattr(module.ExecutionType, lane)
        )
        for number in range(STAGES)
    ]
    config = module.ETLPipelineConfig(
        pipeline_name="hops",
        stages=stages,
        queue_refresh_rate=refresh,
        stats_interval_seconds=0.0,
        enable_tracking=tracking,
    )

    class Hops(module.ETLPipeline):  # type: ignore[misc]
        items = given = 0

        async def refill_queue(self, count: int) -> list[Any]:
            first = self.given
            self.given = min(self.items, first + count)
            return [module.WorkItem(data=number) for number in range(first, self.given)]

    async def run(items: int) -> None:
        made = Hops(config, observers=(nothing_heard(),)) if observer else Hops(config)
        made.items, made.given = items, 0
        for stage in stages:
            made.register_stage_handler(stage.name, keep if lane == "ASYNC" else keep_in_thread)
        await made.run()

    return run


def nothing_heard() -> Any:
    from cableway.flow.observer import Observer

    class Nothing(Observer):
        def item_queued(self, item: Any, stage: str, at_ns: int) -> None:
            pass

        def item_started(self, item: Any, stage: str, at_ns: int) -> None:
            pass

        def item_finished(self, item: Any, stage: str, at_ns: int) -> None:
            pass

        def item_ended(self, item: Any, outcome: Any, at_ns: int) -> None:
            pass

    return Nothing()


def cableway(**settings: Any) -> Any:
    return engine(import_module("cableway"), **settings)


def bergtalzug(**settings: Any) -> Any:
    return engine(import_module("bergtalzug"), **settings)


async def pypeln(items: int) -> None:
    task: Any = import_module("pypeln").task
    flow: Any = range(items)
    for _ in range(STAGES):
        flow = task.map(keep, flow, workers=WORKERS, maxsize=QUEUE)
    async for _ in flow:
        pass


async def aiostream(items: int) -> None:
    stream: Any = import_module("aiostream").stream
    flow: Any = stream.range(items)
    for _ in range(STAGES):
        flow = stream.map(flow, keep_first, ordered=False, task_limit=WORKERS)
    await flow


async def queues(items: int) -> None:
    lines: list[asyncio.Queue[Any]] = [asyncio.Queue(QUEUE) for _ in range(STAGES + 1)]

    async def work(source: asyncio.Queue[Any], sink: asyncio.Queue[Any] | None) -> None:
        while (item := await source.get()) is not None:
            made = await keep(item)
            if sink is not None:
                await sink.put(made)

    workers = [
        [
            asyncio.create_task(work(lines[number], lines[number + 1] if number + 1 < STAGES else None))
            for _ in range(WORKERS)
        ]
        for number in range(STAGES)
    ]
    for item in range(items):
        await lines[0].put(item)
    for line, team in zip(lines, workers, strict=False):
        for _ in team:
            await line.put(None)
        await asyncio.gather(*team)


async def floor(items: int) -> None:
    for item in range(items):
        await keep(await keep(await keep(item)))


NAMES: dict[str, Callable[[], Callable[[int], Coroutine[Any, Any, None]]]] = {
    "cableway tracked": lambda: cableway(tracking=True),
    "cableway untracked": lambda: cableway(tracking=False),
    "cableway untracked, observed": lambda: cableway(tracking=False, observer=True),
    "cableway refresh 1.0": lambda: cableway(tracking=True, refresh=1.0),
    "cableway thread": lambda: cableway(tracking=False, lane="THREAD"),
    "bergtalzug tracked": lambda: bergtalzug(tracking=True),
    "bergtalzug untracked": lambda: bergtalzug(tracking=False),
    "bergtalzug refresh 1.0": lambda: bergtalzug(tracking=True, refresh=1.0),
    "bergtalzug thread": lambda: bergtalzug(tracking=False, lane="THREAD"),
    "pypeln": lambda: pypeln,
    "aiostream": lambda: aiostream,
    "asyncio.Queue": lambda: queues,
    "floor": lambda: floor,
}


def main() -> None:
    name, items = sys.argv[1], int(sys.argv[2])
    run = NAMES[name]()
    asyncio.run(run(min(items, 500)))  # what is imported and cached on first use
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    asyncio.run(run(items))
    print(json.dumps({"s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
