"""From a configuration and its handlers to stages that can run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cableway.flow.batch import Batcher
from cableway.flow.bloc import Merge, StageBloc
from cableway.flow.channel import Hand, LoopChannel
from cableway.flow.clock import Clock
from cableway.flow.config import ExecutionType, Gather, StageConfig
from cableway.flow.gather import Gatherer
from cableway.flow.lanes.pools import make_pool
from cableway.flow.lanes.protocol import HandlerFactory, PoolConfig, WorkerPool
from cableway.flow.order import Line
from cableway.flow.signatures import wants_metadata
from cableway.flow.stage import Stage
from cableway.flow.statistics import StageStatistics
from cableway.flow.units import AsyncUnit, PoolUnit, ThreadUnit, Unit
from cableway.flow.visit import Visit
from cableway.flow.work import Work
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.lanes.thread import ThreadPool

Intake = Batcher | Gatherer | Line


@dataclass(frozen=True, slots=True)
class Registered:
    """What was registered for one stage: its blocs, and how their results are joined (None: a single handler)."""

    blocs: tuple[StageBloc, ...]
    merge: Merge | None


def register(config: StageConfig, blocs: Sequence[StageBloc], merge: Merge | None) -> Registered:
    """Check *blocs* against *config* and fill in what the stage says for them.

    Raise `TypeError` for a handler that does not fit its lane, `ValueError` for names or folds that cannot be.
    """
    if not blocs:
        raise ValueError(f"stage {config.name!r}: at least one bloc is needed")
    names = [bloc.name for bloc in blocs]
    if len(set(names)) < len(names):
        raise ValueError(f"stage {config.name!r}: bloc names must differ: {', '.join(names)}")
    return Registered(tuple(_filled(config, bloc) for bloc in blocs), merge)


def _filled(config: StageConfig, bloc: StageBloc) -> StageBloc:
    lane = ExecutionType(bloc.execution_type or config.execution_type)
    wants_metadata(config.name, lane, bloc.handler)
    if bloc.fold is not None and config.gather is None:
        raise ValueError(f"stage {config.name!r}: bloc {bloc.name!r} has a fold, but the stage does not gather")
    return replace(
        bloc,
        execution_type=lane,
        retry=bloc.retry or config.retry,
        timeout_s=bloc.timeout_s if bloc.timeout_s is not None else config.timeout_s,
    )


class BlocEvents:
    """What a pool tells the flow, passed to the observers with the stage's and the bloc's name."""

    def __init__(self, stage: Stage, bloc: str) -> None:
        self._stage = stage
        self._bloc = bloc

    def worker_died(self, reason: str, jobs: Sequence[str]) -> None:
        """A worker died with these units in its hands."""
        if self._stage.audience.worker_died is not None:
            self._stage.audience.worker_died(self._stage.name, self._bloc, reason, jobs)

    def worker_reported(self, report: Sequence[Any]) -> None:
        """What a worker's hook had gathered."""
        if self._stage.audience.worker_reported is not None:
            self._stage.audience.worker_reported(self._stage.name, self._bloc, report)


class Crew:
    """A stage with everything that works for it."""

    def __init__(
        self,
        stage: Stage,
        registered: Registered,
        shared: Mapping[str, Any],
        clock: Clock,
        dask_address: str | None = None,
    ) -> None:
        self.stage = stage
        self._dask = {} if dask_address is None else {"address": dask_address}
        self._clock = clock
        self.pools: list[WorkerPool] = []
        self.thread_pools: list[ThreadPool] = []
        self.factories: list[tuple[HandlerFactory, WorkerPool]] = []
        stage.merge = registered.merge
        stage.units = tuple(self._unit(bloc, shared) for bloc in registered.blocs)
        self.line = Line(stage, max(stage.config.workers, stage.config.queue_size)) if stage.config.ordered else None
        self.intake = self._intake()
        self.work = Work(stage, self.line)
        self.tasks: set[asyncio.Task[None]] = set()
        self.hands: set[Hand] = set()

    def _unit(self, bloc: StageBloc, shared: Mapping[str, Any]) -> Unit:
        lane = ExecutionType(bloc.execution_type or self.stage.config.execution_type)
        if lane is ExecutionType.ASYNC:
            return AsyncUnit(self.stage, bloc, shared)
        if lane is ExecutionType.THREAD:
            return ThreadUnit(self.stage, bloc, self._thread_pool(bloc), shared)
        return self._pool_unit(lane, bloc)

    def _thread_pool(self, bloc: StageBloc) -> ThreadPool:
        from cableway.flow.lanes.thread import ThreadPool  # culsans loads with it

        stage, config = self.stage, self.stage.config
        threads = ThreadPool(bloc.name, config.workers, config.setup, stage.now_ns, stage.left_behind)
        pool = self._clock.watched(threads)
        self.thread_pools.append(pool)
        return pool

    def _pool_unit(self, lane: ExecutionType, bloc: StageBloc) -> Unit:
        config = self.stage.config
        with_metadata = wants_metadata(config.name, lane, bloc.handler)
        pool = make_pool(
            lane,
            PoolConfig(
                stage=config.name,
                bloc=bloc.name,
                handler=bloc.handler,
                wants_metadata=with_metadata,
                workers=config.workers,
                chunk=None if config.chunk == "auto" else config.chunk,
                setup=config.setup,
                max_item_bytes=config.max_item_bytes,
                worker_hook=self.stage.audience.worker_hook,
                pool_restarts=config.pool_restarts,
                options={**self._dask, **config.options} if lane is ExecutionType.DASK else config.options,
            ),
            BlocEvents(self.stage, bloc.name),
        )
        pool = self._clock.watched(pool)
        self.pools.append(pool)
        if isinstance(bloc.handler, HandlerFactory):
            self.factories.append((bloc.handler, pool))
        return PoolUnit(self.stage, bloc, pool, wants_metadata=with_metadata)

    def _intake(self) -> Intake | None:
        stage, config = self.stage, self.stage.config
        if config.batch is None and config.gather is None and self.line is None:
            return None
        # What stands before this queue bounds it: a batch waits for room, a line counts what is between.
        stage.queue = LoopChannel(config.workers)
        if config.batch is not None:
            return Batcher(stage, config.batch, self.line)
        if isinstance(config.gather, Gather):
            return Gatherer(stage, config.gather)
        return self.line

    def window(self) -> int:
        """How many items the stage can work on at once."""
        return max(self.stage.config.workers, *(unit.window() for unit in self.stage.units))

    def sweep(self) -> list[WorkItem]:
        """Take out whatever waits in this stage, for it will not be worked on."""
        stage = self.stage
        held = [*stage.inbox.sweep(), *self.work.delays.sweep()]
        if stage.queue is not stage.inbox:
            held += stage.queue.sweep()
        for holder in {self.intake, self.line} - {None}:
            held += holder.sweep() if holder is not None else ()
        return [one.item if isinstance(one, Visit) else one for one in held]

    def close(self) -> None:
        """Let nothing more come to this stage's workers."""
        self.stage.inbox.close()
        self.stage.queue.close()
        if self.stage.expiry is not None:
            self.stage.expiry.close()

    def freeze(self) -> StageStatistics:
        """What the stage has done so far."""
        return self.stage.counts.freeze(hand.since_ns for hand in self.hands if hand.since_ns and hand.item is not None)
