"""
From a definition to a flow: what each bloc gets of an item, and how data passes on.

A definition run is a stream of work items whose data is a dict: what each bloc made, by bloc
name. It begins with one root item; the first stage's batched loader makes the stream out of it,
and what the unbatched loaders beside it give are side inputs: in every item by reference, and
sent once to each child worker. An item's entry for a bloc is let go after its last reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cableway import failpoints
from cableway.blocs.kinds import Bloc, ExporterBloc, TransformerBloc
from cableway.blocs.tables import view_of
from cableway.context import RunContext, RunFacts
from cableway.flow.bloc import Fold, StageBloc
from cableway.flow.config import Batch, ETLPipelineConfig, ExecutionType, Gather, RateLimit, Retry, StageConfig
from cableway.flow.lanes.protocol import HandlerFactory
from cableway.items import WorkItem
from cableway.logs import plan_for_workers
from cableway.running import tally
from cableway.running.exactness import Exactness
from cableway.running.gate import Gate
from cableway.running.letters import ROOT
from cableway.running.placing import lane_of, local_handler, worker_target
from cableway.running.profile import profile_of, stage_profiles
from cableway.running.readers import Readers
from cableway.running.recovery import Cutter
from cableway.running.tally import RowCounts

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, JsonObject, PipelineDefinition, StageDefinition
    from cableway.flow.pipeline import ETLPipeline
    from cableway.running.shared_limits import SharedLimits
    from cableway.store.port import Replay, StageRecord

LOOP_BLOCKED_S = 10.0
"""A handler that holds up the event loop for so long is named in the log."""


class Assembly:
    """One pipeline made runnable: blocs built, lanes chosen, inputs known.

    *secrets* are those that the configs name, for workers. *taken_up*: earlier attempts have been at work. *replay*
    says what is worked on again, and *given_by* which loader gives items with the data of several blocs. Raise
    `DefinitionError` where a bloc cannot run in the lane that it was given.
    """

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        definition: PipelineDefinition,
        blocs: Mapping[str, Bloc],
        facts: RunFacts,
        *,
        secrets: Mapping[str, str] | None = None,
        exactness: Exactness | None = None,
        taken_up: bool = False,
        limits: SharedLimits | None = None,
        replay: Replay | None = None,
        given_by: str | None = None,
    ) -> None:
        self.replay = replay
        self.given_by = given_by
        self.exactness = exactness or Exactness.of(definition, blocs)
        self.gate = Gate()
        self.cutters = {number: Cutter() for number in set(self.exactness.batch_stages.values())}
        """What batching stages ask where to cut, by the number of the stage."""
        self._taken_up = taken_up
        self._limits = limits
        self.definition = definition
        self.blocs = blocs
        self.facts = facts
        self._secrets = secrets or {}
        self.rows = RowCounts()
        self.readers = Readers.of(definition, blocs)
        self._side_values: dict[str, Any] = {}
        self._lanes = {
            bloc.name: lane_of(stage, bloc, blocs[bloc.name]) for stage in definition.stages for bloc in stage.blocs
        }
        self._views = {name: view_of(bloc) for name, bloc in blocs.items()}

    def config(self) -> ETLPipelineConfig:
        """The flow's configuration: counts and failures alone are kept."""
        return ETLPipelineConfig(
            pipeline_name=self.definition.name,
            stages=[self._stage_config(number, stage) for number, stage in enumerate(self.definition.stages)],
            enable_tracking=False,
            stats_interval_seconds=0,
            loop_blocked_after_s=LOOP_BLOCKED_S,
            dask_address=self.definition.settings.dask_address,
        )

    async def close(self) -> None:
        """Let go of what is shared with other runs."""
        if self._limits is not None:
            await self._limits.close()

    def root(self) -> WorkItem:
        """The one item that a run begins with."""
        return WorkItem(data={}, job_id=f"{self.gate.prefix}{ROOT}")

    def register(self, pipeline: ETLPipeline) -> None:
        """Give every stage of *pipeline* its handlers."""
        for index, stage in enumerate(self.definition.stages):
            merge = self._merge(index, stage, pipeline.share)
            pipeline.register_stage_blocs(stage.name, [self._stage_bloc(stage, bloc) for bloc in stage.blocs], merge)

    def rows_in_and_out(self, *, committed: bool) -> tuple[int, int]:
        """Rows that the loaders gave, and rows that the exporters wrote; of those that write a table as a whole
        only when it was *committed*.
        """
        return tally.rows_in_and_out(self.blocs, self.rows, committed=committed)

    def outputs(self, *, committed: bool) -> JsonObject:
        """What each bloc says of its output, by bloc; exporters only when what they wrote was *committed*."""
        return tally.outputs_of(self.blocs, committed=committed)

    def stage_records(self, pipeline: ETLPipeline) -> list[StageRecord]:
        """What each stage did, and below a stage of several blocs what each of them did."""
        stages = {stage.name: stage for stage in self.definition.stages}
        statistics = {stage.name: stage for stage in pipeline.stage_statistics()}
        return tally.stage_records(stages, self._lanes, statistics, self.rows)

    def profile(self, pipeline: ETLPipeline, *, flow_s: float, loop_s: float) -> JsonObject:
        """How long the workers of each stage were busy at a time, in a flow of *flow_s* seconds.

        *loop_s* is for how long the event loop computed.
        """
        lanes = {
            stage.name: " ".join(dict.fromkeys(str(self._lanes[bloc.name]) for bloc in stage.blocs))
            for stage in self.definition.stages
        }
        configs, statistics = pipeline.config.stages, pipeline.stage_statistics()
        stages = stage_profiles(configs, statistics, lanes, serial=self.exactness.serial)
        return profile_of(stages, flow_s=flow_s, loop_s=loop_s)

    def context(self, bloc: str, item: WorkItem | None = None) -> RunContext:
        """What *bloc* sees while it works on *item*, or before the first one."""
        return RunContext(
            self.facts,
            bloc=bloc,
            item_id=item.job_id if item is not None else "",
            data=self._data_of(item) if item is not None else None,
            inputs=self.readers.inputs[bloc],
            view=self._views[bloc],
        )

    @property
    def names(self) -> frozenset[str]:
        """The names that an item's data may go by."""
        return frozenset(self._lanes) | frozenset(name for names in self.readers.inputs.values() for name in names)

    def payload(self, item: WorkItem) -> Any:
        """What of *item* is worth keeping when it failed: its own data, without what every item has."""
        data: Any = item.data
        if isinstance(data, list):  # of a batch, not joined yet
            return [self._own(member) for member in cast("list[Any]", data)]
        return self._own(data)

    def _data_of(self, item: WorkItem) -> dict[str, Any]:
        """What each bloc made of *item*; the members of a batch are joined when one of its blocs first looks."""
        data: Any = item.data
        if isinstance(data, list):
            from cableway.running.joining import joined_members

            item.data = data = joined_members(cast("list[dict[str, Any]]", data), self.readers.sides)
        return cast("dict[str, Any]", data)

    def _own(self, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        entries = cast("dict[str, Any]", data)
        return {name: value for name, value in entries.items() if name not in self.readers.sides}

    def _merge(
        self, index: int, stage: StageDefinition, share: Callable[[str, Any], None]
    ) -> Callable[[WorkItem, Mapping[str, Any]], dict[str, Any]]:
        over = frozenset(name for name, last in self.readers.last.items() if last <= index)
        sides = self.readers.sides & {bloc.name for bloc in stage.blocs}
        exporters = {bloc.name for bloc in stage.blocs if isinstance(self.blocs[bloc.name], ExporterBloc)}
        counted = {bloc.name for bloc in stage.blocs} - sides - exporters

        def merge(parent: WorkItem, results: Mapping[str, Any]) -> dict[str, Any]:
            given: Mapping[str, Any] = {}
            if self.given_by is not None and self.given_by in results:
                given = cast("Mapping[str, Any]", results[self.given_by])
                results = {name: value for name, value in results.items() if name != self.given_by}
            for name in sides - self._side_values.keys():
                if name in results:
                    share(name, results[name])
                    self.rows.made(name, results[name])
                    self._side_values[name] = results[name]
            for name in counted & results.keys():
                self.rows.made(name, results[name])
            before = self._side_values if stage.gather else self._data_of(parent)
            kept = {name: value for name, value in before.items() if name not in over}
            return {**kept, **given, **{name: value for name, value in results.items() if name not in over}}

        return merge

    def _stage_bloc(self, stage: StageDefinition, definition: BlocDefinition) -> StageBloc:
        bloc, lane = self.blocs[definition.name], self._lanes[definition.name]
        if stage.gather and isinstance(bloc, TransformerBloc):
            return StageBloc(name=bloc.name, handler=_gathered, execution_type=lane, fold=self._fold(bloc))
        if lane.in_child:
            return self._child_bloc(stage, definition, bloc, lane)
        handler = local_handler(bloc, lane, partial(self.context, bloc.name), self.gate)
        if isinstance(bloc, ExporterBloc):
            handler = self._counting(bloc.name, handler, lane)
        if self._taken_up and definition.name not in self.readers.sources:
            handler = _refusing(handler, partial(self.gate.refuse_known, stage.name, bloc.name), lane)
        return StageBloc(name=bloc.name, handler=handler, execution_type=lane)

    def _fold(self, bloc: TransformerBloc) -> Fold:
        def add(state: Any, item: WorkItem) -> Any:
            return bloc.fold(state, self.context(bloc.name, item))

        return Fold(initial=bloc.initial, add=add, finish=bloc.finish)

    def _child_bloc(
        self, stage: StageDefinition, definition: BlocDefinition, bloc: Bloc, lane: ExecutionType
    ) -> StageBloc:
        inputs = self.readers.inputs[definition.name]
        sides = tuple(name for name in inputs if name in self.readers.sides)
        own = tuple(name for name in inputs if name not in self.readers.sides)
        target, config = worker_target(bloc, definition, lane, self._secrets)
        # A Dask worker serves others as well: it keeps its own log, and looks its secrets up itself.
        shared = lane is ExecutionType.DASK
        house = None if shared else (plan_for_workers(), tuple(self._secrets.values()))
        factory = HandlerFactory(
            path="cableway.blocs.worker:build_in_house",
            args=(house, target, definition.name, config, asdict(self.facts), inputs),
            shared=sides,
        )

        def select(item: WorkItem) -> dict[str, Any]:
            self.gate.refuse_known(stage.name, definition.name, item)
            data = self._data_of(item)
            return {name: data[name] for name in own if name in data}

        return StageBloc(name=definition.name, handler=factory, execution_type=lane, select=select)

    def _counting(self, name: str, export: Callable[[WorkItem], Any], lane: ExecutionType) -> Callable[[WorkItem], Any]:
        """Count what was written where it was: the result of an exporter is no data for later stages."""

        async def count_async(item: WorkItem) -> None:
            failpoints.reach("before_export")
            self.rows.wrote(name, await export(item))

        def count(item: WorkItem) -> None:
            failpoints.reach("before_export")
            self.rows.wrote(name, export(item))

        return count if lane is ExecutionType.THREAD else count_async

    def _stage_config(self, number: int, stage: StageDefinition) -> StageConfig:
        serial = number in self.exactness.serial
        lanes_of_stage = {self._lanes[bloc.name] for bloc in stage.blocs}
        lane = min(lanes_of_stage) if len(lanes_of_stage) == 1 else ExecutionType(stage.lane or "async")
        source = any(bloc.name in self.readers.sources for bloc in stage.blocs)
        return StageConfig(
            name=stage.name,
            execution_type=lane,
            workers=1 if serial else stage.workers,
            queue_size=1 if serial else stage.queue_size,
            queue_bytes=stage.queue_bytes,
            max_item_bytes=stage.max_item_bytes,
            retry=_retry(stage),
            timeout_s=stage.timeout_s,
            queue_timeout_s=stage.queue_timeout_s,
            # A source that fails ends the run, but first what it gave has to drain.
            on_error="dead_letter" if source else stage.on_error,
            batch=self._batch(number, stage),
            gather=Gather(max_bytes=stage.gather_bytes) if stage.gather else None,
            ordered=stage.ordered or serial or self._needs_order(number, stage, lanes_of_stage),
            rate_limit=None if stage.rate_per_s is None else RateLimit(per_s=stage.rate_per_s),
            turnstiles=self._limits.turnstiles(stage.limits) if self._limits is not None else (),
            chunk=stage.chunk or "auto",
            options={"address": stage.dask_address} if stage.dask_address and lane is ExecutionType.DASK else {},
        )

    def _needs_order(self, number: int, stage: StageDefinition, lanes: Iterable[ExecutionType]) -> bool:
        """Whether items could leave in another order than the source's, and must not; a gather makes one anyway."""
        if number not in self.exactness.in_order or stage.gather:
            return False
        one_by_one = stage.workers == 1 and stage.retry.attempts == 1 and not any(lane.in_child for lane in lanes)
        return not one_by_one

    def _batch(self, number: int, stage: StageDefinition) -> Batch | None:
        batch = stage.batch
        if batch is None:
            return None
        cuts = self.cutters.get(number)
        return Batch(count=batch.count, bytes=batch.size_bytes, period_s=batch.period_s, cuts=cuts)


def _refusing(
    handler: Callable[[WorkItem], Any], refuse: Callable[[WorkItem], None], lane: ExecutionType
) -> Callable[[WorkItem], Any]:
    """*handler* of an item, once *refuse* has let it pass."""

    async def work_async(item: WorkItem) -> Any:
        refuse(item)
        return await handler(item)

    def work(item: WorkItem) -> Any:
        refuse(item)
        return handler(item)

    return work if lane is ExecutionType.THREAD else work_async


def _retry(stage: StageDefinition) -> Retry | None:
    retry = stage.retry
    if retry.attempts == 1:
        return None
    return Retry(
        attempts=retry.attempts,
        initial_s=retry.initial_s,
        factor=retry.factor,
        max_s=retry.max_s,
        jitter=retry.jitter,
        retry_on=retry.retry_on or (Exception,),
        give_up_on=retry.give_up_on,
    )


async def _gathered(item: WorkItem) -> Any:
    """In a gather the fold has done the work: its result is the item's data."""
    return item.data
