"""One implementation's pass over large payloads through two workers; prints seconds as JSON.

Run as ``payload.py NAME KIND ITEMS``. The workers are there, and have seen a few payloads, before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from benchmarks.peers.busy import touch

WORKERS, IN_FLIGHT, FIRST = 2, 4, 20
SIZE = 5_000_000


def as_bytes() -> Any:
    return bytes(SIZE)


def as_numpy() -> Any:
    import numpy as np

    return np.arange(SIZE // 8, dtype="f8")


def as_frame() -> Any:
    import pandas as pd

    rows = SIZE // 40
    return pd.DataFrame({name: [float(n) for n in range(rows)] for name in "abcd"} | {"e": range(rows)})


def as_arrow() -> Any:
    pa: Any = import_module("pyarrow")
    return pa.Table.from_pandas(as_frame())


KINDS: dict[str, Callable[[], Any]] = {"bytes": as_bytes, "numpy": as_numpy, "frame": as_frame, "arrow": as_arrow}


def cableway(payload: Any, items: int) -> float:
    import cableway as module

    done, began = 0, 0.0
    turned = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        nonlocal began
        for _ in range(FIRST):
            yield payload
        await turned.wait()
        began = time.perf_counter()
        for _ in range(items):
            yield payload

    async def count(item: Any) -> Any:
        nonlocal done
        done += 1
        if done == FIRST:
            turned.set()
        return item

    async def run() -> float:
        stages = [
            module.StageConfig(name=name, execution_type=lane, workers=workers, queue_size=IN_FLIGHT)
            for name, lane, workers in (
                ("touch", module.ExecutionType.PROCESS, WORKERS),
                ("count", module.ExecutionType.ASYNC, 1),
            )
        ]
        config = module.ETLPipelineConfig(stages=stages, stats_interval_seconds=0.0, enable_tracking=False)
        pipeline = module.ETLPipeline(config, source=source())
        pipeline.register_stage_handler("touch", touch)
        pipeline.register_stage_handler("count", count)
        await pipeline.run()
        return time.perf_counter() - began

    return asyncio.run(run())


def futures(payload: Any, items: int) -> float:
    from concurrent.futures import Future, ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:

        def turn(times: int) -> None:
            flying: deque[Future[float]] = deque()
            for _ in range(times):
                if len(flying) == IN_FLIGHT:
                    flying.popleft().result()
                flying.append(pool.submit(touch, "", payload))
            while flying:
                flying.popleft().result()

        turn(FIRST)
        began = time.perf_counter()
        turn(items)
        return time.perf_counter() - began


if __name__ == "__main__":
    chosen = {"cableway": cableway, "futures": futures}[sys.argv[1]]
    print(json.dumps({"s": chosen(KINDS[sys.argv[2]](), int(sys.argv[3]))}))
