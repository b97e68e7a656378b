"""A pipeline over a pool whose window moves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig
from cableway.flow import build
from cableway.flow.lanes.protocol import PoolConfig, PoolEvents, UnitCall, UnitResult
from tests.unit.lanes import handlers


class Breathing:
    """A pool that wants twenty units at a time, gives their results all at once, and then wants two."""

    def __init__(self, config: PoolConfig, events: PoolEvents) -> None:
        self.window = 20
        self._waiting: list[asyncio.Future[UnitResult]] = []

    async def start(self) -> None:
        """Be there."""

    def share(self, name: str, value: object) -> None:
        """Nothing is shared."""

    async def run(self, call: UnitCall) -> UnitResult:
        self._waiting.append(asyncio.get_running_loop().create_future())
        own = self._waiting[-1]
        if len(self._waiting) == self.window:
            self.window = 2
            self._give(self._waiting)
        return await own

    def _give(self, waiting: Sequence[asyncio.Future[UnitResult]]) -> None:
        for future in waiting:
            future.set_result(UnitResult(1, 0, 0))
        self._waiting = []

    async def close(self, grace_s: float) -> None:
        """Be gone."""


async def test_a_window_that_shrinks_at_once_leaves_workers_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def breathing(_lane: ExecutionType, config: PoolConfig, events: PoolEvents) -> Breathing:
        return Breathing(config, events)

    monkeypatch.setattr(build, "make_pool", breathing)
    stage = StageConfig(name="work", execution_type=ExecutionType.PROCESS, workers=1, queue_size=100)
    pipeline = ETLPipeline(ETLPipelineConfig(stages=[stage], stats_interval_seconds=0), source=range(40))
    pipeline.register_stage_handler("work", handlers.same)
    async with asyncio.timeout(10):
        results = await pipeline.run()
    assert [result.success for result in results] == [True] * 40
