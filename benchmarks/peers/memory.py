"""Peak memory of items through two async stages that do nothing; prints kilobytes as JSON: ``memory.py NAME ITEMS``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from importlib import import_module
from typing import Any


async def keep(item: Any) -> Any:
    return item


async def run(module: Any, items: int, *, tracking: bool) -> int:
    stages = [module.StageConfig(name=name, workers=10, queue_size=1_000) for name in ("first", "second")]
    config = module.ETLPipelineConfig(
        pipeline_name="memory",
        stages=stages,
        queue_refresh_rate=0.0,
        stats_interval_seconds=0.0,
        enable_tracking=tracking,
    )

    class Numbers(module.ETLPipeline):  # type: ignore[misc]
        given = 0

        async def refill_queue(self, count: int) -> list[Any]:
            first, self.given = self.given, min(items, self.given + count)
            return [module.WorkItem(data=number) for number in range(first, self.given)]

    made = Numbers(config)
    for stage in stages:
        made.register_stage_handler(stage.name, keep)
    return len(await made.run())


def main() -> None:
    name, items = sys.argv[1], int(sys.argv[2])
    asyncio.run(run(import_module(name.partition(" ")[0]), items, tracking=name.endswith("results kept")))
    print(json.dumps({"kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
