"""The pipeline as its users see it: configure, register, run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any

from cableway.flow.bloc import Merge, StageBloc
from cableway.flow.build import Registered, register
from cableway.flow.clock import Clock
from cableway.flow.config import ETLPipelineConfig, StageConfig
from cableway.flow.observer import Observer
from cableway.flow.report import StatsLog, statistics_of
from cableway.flow.run import FlowRun
from cableway.flow.source import Asked, Source, source_of
from cableway.flow.statistics import StageStatistics
from cableway.flow.tracker import CompletionCallback
from cableway.items import WorkItem, WorkItemResult

log = logging.getLogger("cableway.flow")


class ETLPipeline:
    """Items on their way through stages that work side by side.

    Subclass it and write ``refill_queue``, or give a *source*: any iterable or async iterable of
    `WorkItem` or plain data. Register one handler for each stage, then ``await run()``. With
    *source_in_thread* an iterable that blocks is pulled by a thread of its own.

    A pipeline can be run again after a run has ended; a *source* that is an iterator is then empty.
    """

    def __init__(
        self,
        config: ETLPipelineConfig,
        source: Iterable[Any] | AsyncIterable[Any] | None = None,
        *,
        observers: Sequence[Observer] = (),
        source_in_thread: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(config, ETLPipelineConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"config must be an ETLPipelineConfig, not {type(config).__name__}")
        if source is None and type(self).refill_queue is ETLPipeline.refill_queue:
            raise TypeError(f"{type(self).__name__} has no items: write refill_queue, or give a source")
        self.config = config
        self.pipeline_name = config.pipeline_name
        self._source = source
        self._in_thread = source_in_thread
        self._observers = tuple(observers)
        self._clock = clock or Clock()
        self._registered: dict[str, Registered] = {}
        self._callbacks: list[CompletionCallback] = []
        self._shared: dict[str, Any] = {}
        self._run: FlowRun | None = None
        self._collected = True
        self._stats_log: StatsLog | None = None
        if source is not None:
            self._new_source()

    async def refill_queue(self, count: int) -> Sequence[Any]:
        """Give about *count* items more, or an empty list when there are none. To be written by subclasses."""
        raise NotImplementedError

    def register_stage_handler(self, stage_name: str, handler: Callable[..., Any]) -> None:
        """Have *handler* work on the items of this stage.

        In the async and thread lanes it takes the item, elsewhere ``(job_id, data)`` or
        ``(job_id, data, metadata)``. It returns the item or its new data; None drops the item; a generator,
        or a list of nothing but items, makes it many.

        Raise `ValueError` for a stage that is not there, `TypeError` for a handler that does not fit.
        """
        config = self._stage_config(stage_name)
        self._registered[stage_name] = register(config, (StageBloc(name=stage_name, handler=handler),), None)

    def register_stage_blocs(self, stage_name: str, blocs: Sequence[StageBloc], merge: Merge) -> None:
        """Have several blocs work on each item of this stage side by side.

        ``merge(parent, results)`` joins what they gave into the data of the item that goes on. A bloc that
        gives None has said nothing; one that gives `DROP`, or an empty generator, drops the item. At most
        one may give a generator: the others finish first, then each of its values is merged with theirs.
        When one fails for good the item fails.

        Raise as `register_stage_handler` does.
        """
        self._registered[stage_name] = register(self._stage_config(stage_name), tuple(blocs), merge)

    def _stage_config(self, name: str) -> StageConfig:
        for stage in self.config.stages:
            if stage.name == name:
                return stage
        names = ", ".join(stage.name for stage in self.config.stages)
        raise ValueError(f"no stage is called {name!r}; there are: {names}")

    def add_completion_callback(self, callback: CompletionCallback) -> None:
        """Have *callback*, sync or async, called with the result of every item that ends.

        What it raises is logged and changes nothing. It may call `stop` and `cancel`.
        """
        if not callable(callback):
            raise TypeError(f"a completion callback must be callable, not {type(callback).__name__}")
        self._callbacks.append(callback)

    def share(self, name: str, value: Any) -> None:
        """Make *value* known to the children whose handlers ask for *name*, from the next unit on."""
        self._shared[name] = value
        if self._run is not None:
            self._run.share(name, value)

    def is_running(self) -> bool:
        """Whether a run has begun and not ended."""
        return self._run is not None and not self._run.main.done()

    async def start(self) -> None:
        """Begin a run and return; `run` then waits for its end. Does nothing while one is under way.

        Raise `RuntimeError` when a stage has no handler.
        """
        if self.is_running():
            log.warning("pipeline %s is running already", self.pipeline_name)
            return
        missing = [stage.name for stage in self.config.stages if stage.name not in self._registered]
        if missing:
            raise RuntimeError(f"no handler is registered for stage {', '.join(map(repr, missing))}")
        self._run = run = FlowRun(
            self.config,
            self._registered,
            self._new_source(),
            observers=self._observers,
            callbacks=self._callbacks,
            shared=self._shared,
            clock=self._clock,
        )
        self._collected = False
        for name, value in self._shared.items():
            run.share(name, value)
        if self.config.stats_interval_seconds > 0:
            self._stats_log = StatsLog(run, self.config.stats_interval_seconds)

    def _new_source(self) -> Source:
        if self._source is None:
            return Asked(self.refill_queue)
        source = source_of(self._source, in_thread=self._in_thread, ahead=self.config.stages[0].queue_size)
        return self._clock.watched(source) if self._in_thread else source

    async def run(self) -> list[WorkItemResult]:
        """Run to the end and return the results, none where tracking is off.

        After `start` this waits for the run that it began. Items that failed are in the results. Raise
        what the source raised, once all that it gave has ended; `ItemsFailedError` for a failure in a stage
        with ``on_error="fail_run"``; `WorkersLostError`, `GatherTooLargeError`, `DefinitionError` for what
        their names say; `AccountingError` should items not add up. Cancelling this cancels the run.
        """
        if self._run is None or self._collected:
            await self.start()
        run = self._run
        if run is None:
            raise RuntimeError("the pipeline has not started")
        try:
            await _ended(run)
        finally:
            self._collected = True
            if self._stats_log is not None:
                self._stats_log.close()
                self._stats_log = None
        if run.error is not None:
            raise run.error
        return run.tracker.results if run.tracker is not None else []

    async def stop(self) -> None:
        """Ask the source for nothing more and let what is on its way end; `run` then returns the results."""
        if self._run is None or self._run.main.done():
            log.warning("pipeline %s is not running, so there is nothing to stop", self.pipeline_name)
            return
        self._run.stop()

    async def cancel(self, grace_s: float = 0.0) -> None:
        """End the run: what waits is cancelled at once, what is at work after at most *grace_s* seconds.

        `run` then returns the results, the cancelled ones among them.
        """
        if self._run is not None and not self._run.main.done():
            self._run.cancel(grace_s)

    async def get_active_items(self) -> list[WorkItem]:
        """The items that are on their way now; none where tracking is off."""
        if self._run is None or self._run.tracker is None:
            return []
        return list(self._run.tracker.active)

    async def get_pipeline_stats(self) -> dict[str, Any]:
        """The run so far: ``active_items``, ``active_by_stage``, ``completed_items``, ``success_rate``,
        ``average_duration_seconds`` and for each stage ``average_<stage>_duration_seconds``.
        """
        return statistics_of(self._run, [stage.name for stage in self.config.stages])

    def stage_statistics(self) -> tuple[StageStatistics, ...]:
        """For each stage what it has done so far, in order; kept with tracking off too."""
        return () if self._run is None else tuple(crew.freeze() for crew in self._run.crews)


async def _ended(run: FlowRun) -> None:
    """Wait for the end of *run*; cancelled, cancel it, and wait all the same."""
    cancelled: asyncio.CancelledError | None = None
    while not run.main.done():
        try:
            await asyncio.wait((run.main,))
        except asyncio.CancelledError as error:
            cancelled = error
            run.cancel(0.0)
    if cancelled is not None:
        raise cancelled
    if run.main.cancelled():
        raise asyncio.CancelledError
    failed = run.main.exception()
    if failed is not None:
        raise failed
