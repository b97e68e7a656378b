"""One implementation's pass over CPU-bound items on two workers; prints seconds as JSON.

Run by the interpreter that has the implementation: ``cpu.py NAME ITEMS``. ``cold_s`` counts from
before the pool is started; ``warm_s`` is a second pass in the same pool, where there is such a thing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from benchmarks.peers.busy import busy, busy_alone

WORKERS = 2
Times = dict[str, float]


def serial(items: int) -> Times:
    began = time.perf_counter()
    for number in range(items):
        busy_alone(number)
    return {"cold_s": time.perf_counter() - began}


def forked(items: int) -> Times:
    """The floor: two forked processes, half the items each, and nothing to hand over."""
    began = time.perf_counter()
    children: list[int] = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            for number in range(items // WORKERS):
                busy_alone(number)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return {"cold_s": time.perf_counter() - began}


def cableway(items: int, lane: str) -> Times:
    import cableway as module

    times: Times = {}
    done, began = 0, 0.0
    turned = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        for number in range(items):
            yield number
        while done < items:
            turned.clear()
            await turned.wait()
        times["cold_s"] = time.perf_counter() - began
        again = time.perf_counter()
        for number in range(items):
            yield number
        while done < 2 * items:
            turned.clear()
            await turned.wait()
        times["warm_s"] = time.perf_counter() - again

    async def count(item: Any) -> Any:
        nonlocal done
        done += 1
        if done % items == 0:
            turned.set()
        return item

    async def run() -> None:
        nonlocal began
        stages = [stage(module, "crunch", lane, WORKERS), stage(module, "count", "ASYNC", 1)]
        config = module.ETLPipelineConfig(
            pipeline_name="cpu", stages=stages, stats_interval_seconds=0.0, enable_tracking=False
        )
        pipeline = module.ETLPipeline(config, source=source())
        pipeline.register_stage_handler("crunch", busy)
        pipeline.register_stage_handler("count", count)
        began = time.perf_counter()
        await pipeline.run()

    asyncio.run(run())
    return times


def bergtalzug(items: int, lane: str) -> Times:
    module: Any = import_module("bergtalzug")
    config = module.ETLPipelineConfig(
        pipeline_name="cpu",
        stages=[stage(module, "crunch", lane, WORKERS)],
        queue_refresh_rate=0.0,
        stats_interval_seconds=0.0,
        enable_tracking=False,
    )

    class Crunch(module.ETLPipeline):  # type: ignore[misc]
        given = 0

        async def refill_queue(self, count: int) -> list[Any]:
            first, self.given = self.given, min(items, self.given + count)
            return [module.WorkItem(data=number) for number in range(first, self.given)]

    async def run() -> None:
        pipeline = Crunch(config)
        pipeline.register_stage_handler("crunch", busy)
        await pipeline.run()

    began = time.perf_counter()
    asyncio.run(run())
    return {"cold_s": time.perf_counter() - began}


def stage(module: Any, name: str, lane: str, workers: int) -> Any:
    return module.StageConfig(
        name=name, execution_type=getattr(module.ExecutionType, lane), workers=workers, queue_size=1_000
    )


def futures(items: int, chunk: int) -> Times:
    from concurrent.futures import ProcessPoolExecutor

    began = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        return twice(lambda: sum(pool.map(busy_alone, range(items), chunksize=chunk)), began)


def processes(items: int, chunk: int) -> Times:
    from multiprocessing import Pool

    began = time.perf_counter()
    with Pool(WORKERS) as pool:
        return twice(lambda: sum(pool.imap(busy_alone, range(items), chunksize=chunk)), began)


def joblib(items: int) -> Times:
    module: Any = import_module("joblib")
    began = time.perf_counter()
    with module.Parallel(WORKERS) as parallel:
        return twice(lambda: sum(parallel(module.delayed(busy_alone)(number) for number in range(items))), began)


def twice(work: Callable[[], int], began: float) -> Times:
    work()
    cold_s = time.perf_counter() - began
    began = time.perf_counter()
    work()
    return {"cold_s": cold_s, "warm_s": time.perf_counter() - began}


NAMES: dict[str, Callable[[int], Times]] = {
    "serial": serial,
    "two forked processes": forked,
    "cableway process": lambda items: cableway(items, "PROCESS"),
    "cableway interpreter": lambda items: cableway(items, "INTERPRETER"),
    "bergtalzug process": lambda items: bergtalzug(items, "PROCESS"),
    "bergtalzug interpreter": lambda items: bergtalzug(items, "INTERPRETER"),
    "concurrent.futures, chunk 1": lambda items: futures(items, 1),
    "concurrent.futures, chunk 16": lambda items: futures(items, 16),
    "multiprocessing.Pool, chunk 1": lambda items: processes(items, 1),
    "multiprocessing.Pool, chunk 16": lambda items: processes(items, 16),
    "joblib": joblib,
}


if __name__ == "__main__":
    print(json.dumps(NAMES[sys.argv[1]](int(sys.argv[2]))))
