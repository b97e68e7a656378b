"""
The engine as a library, with a lane of every kind.

Ledgers of a few made-up shops are fetched, parsed, priced, scored and filed. Each stage has the lane that
suits its work; one shop's ledger is broken, one is closed and dropped. Run it from the repository's root:

    python -m examples.engine
    python -m examples.engine --shops 200
    python -m examples.engine --dask tcp://scheduler:8786

It prints results as they come (a completion callback), the statistics, and where the time went.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig, WorkItem, WorkItemResult
from cableway.flow.config import Retry

BROKEN, CLOSED = 3, 5

Handler = Callable[..., Any]


class Shops(ETLPipeline):
    """Knows which shops there are, and names them when the first stage has room."""

    def __init__(self, config: ETLPipelineConfig, count: int) -> None:
        super().__init__(config)
        self.filed: dict[str, float] = {}
        self._next = 0
        self._count = count

    async def refill_queue(self, count: int) -> Sequence[WorkItem]:
        """The next *count* shops; an empty list when all have been named."""
        first, self._next = self._next, min(self._next + count, self._count)
        return [WorkItem({"shop": number}, job_id=f"shop-{number}") for number in range(first, self._next)]

    async def file(self, item: WorkItem) -> WorkItem:
        """A handler may be a method where it stays in this process."""
        self.filed[item.job_id] = item.data["score"]
        return item


async def fetch(item: WorkItem) -> WorkItem | None:
    """ASYNC: wait for many at once; here for a network that is only played."""
    number = item.data["shop"]
    dice = random.Random(number)
    await asyncio.sleep(dice.uniform(0.001, 0.01))
    if number == CLOSED:
        return None  # nothing to be had: the item is dropped, and counts as skipped
    if dice.random() < 0.2 and not item.metadata.custom_metadata.setdefault("tried", False):
        item.metadata.custom_metadata["tried"] = True
        raise ConnectionError("the line was busy")  # tried again, see the stage's retry
    sales = [[dice.randint(1, 9), dice.uniform(1, 50)] for _ in range(200)]
    item.data["ledger"] = "no ledger" if number == BROKEN else json.dumps(sales)
    return item


def parse(item: WorkItem) -> WorkItem:
    """THREAD: for what blocks and lets others run meanwhile; a broken ledger fails its own item alone."""
    item.data["sales"] = json.loads(item.data.pop("ledger"))
    return item


def price(job_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """PROCESS (or DASK): pure Python on a core of its own. Only id and data cross over."""
    if not data["sales"]:
        raise ValueError(f"{job_id} has sold nothing")
    return data | {"total": math.fsum(count * each for count, each in data["sales"])}


def score(job_id: str, data: dict[str, Any]) -> dict[str, Any]:
    """INTERPRETER: the same in this process, with what the standard library needs."""
    spread = statistics.pstdev(each for _, each in data["sales"])
    return {"shop": job_id, "score": round(data["total"] / (1 + spread), 2)}


def configuration(dask: str | None) -> ETLPipelineConfig:
    """The stages. INTERPRETER needs Python 3.14; before, the stage is one more of processes."""
    last_lane = ExecutionType.INTERPRETER if sys.version_info >= (3, 14) else ExecutionType.PROCESS
    priced = (
        StageConfig(name="price", execution_type=ExecutionType.DASK, workers=4, options={"address": dask})
        if dask
        else StageConfig(name="price", execution_type=ExecutionType.PROCESS, workers=2, queue_size=20)
    )
    return ETLPipelineConfig(
        pipeline_name="shops",
        stages=[
            StageConfig(name="fetch", workers=20, queue_size=50, retry=Retry(attempts=3, initial_s=0.01)),
            StageConfig(name="parse", execution_type=ExecutionType.THREAD, workers=2, queue_size=20),
            priced,
            StageConfig(name="score", execution_type=last_lane, workers=1, queue_size=20),
            StageConfig(name="file", workers=5),
        ],
        stats_interval_seconds=0,
    )


def announce(result: WorkItemResult) -> None:
    """A completion callback: told of each item as it ends, the dropped and the failed ones too."""
    if result.success:
        print(f"  {result.job_id:<9} {result.outcome}, {1000 * (result.total_duration or 0):.0f} ms")
    else:
        print(f"  {result.job_id:<9} failed: {type(result.error).__name__}: {result.error}")


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the number of shops whose ledger was filed."""
    parser = argparse.ArgumentParser(description="The engine as a library, with a lane of every kind.")
    parser.add_argument("--shops", type=int, default=12)
    parser.add_argument("--dask", metavar="ADDRESS", help="price on this Dask cluster instead of in processes")
    chosen = parser.parse_args(arguments)
    pipeline = Shops(configuration(chosen.dask), chosen.shops)
    handlers: dict[str, Handler] = {
        "fetch": fetch,
        "parse": parse,
        "price": price,
        "score": score,
        "file": pipeline.file,
    }
    for name, handler in handlers.items():
        pipeline.register_stage_handler(name, handler)
    pipeline.add_completion_callback(announce)

    await pipeline.start()
    print(f"running: {pipeline.is_running()}")
    results = await pipeline.run()

    stats = await pipeline.get_pipeline_stats()
    print(f"{stats['completed_items']} items ended, {stats['success_rate']:.0%} of them well")
    for stage in pipeline.stage_statistics():
        work = f"{1000 * stage.work_s:.1f} ms of work"
        print(f"  {stage.name:<6} {stage.done:>3} done, {stage.failed} failed, {stage.retried} retried, {work}")
    slowest = max(results, key=lambda result: result.total_duration or 0)
    took = {name: slowest.metadata.get_stage_duration(name) or 0 for name in handlers}
    print(f"slowest: {slowest.job_id} ({', '.join(f'{name} {1000 * each:.1f} ms' for name, each in took.items())})")
    return len(pipeline.filed)


if __name__ == "__main__":
    asyncio.run(main())
