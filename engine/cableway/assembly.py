"""
From a definition to a flow: which handler each bloc becomes in its lane, and how data passes on.

A definition run is a stream of work items whose data is a dict: what each bloc made, by bloc
name. It begins with one root item; the first stage's batched loader makes the stream out of it,
and what the unbatched loaders beside it give are side inputs: in every item by reference, and
sent once to each child worker. An item's entry for a bloc is let go after its last reader.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cableway import tally
from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc, TransformerBloc
from cableway.blocs.tables import view_of
from cableway.context import RunContext, RunFacts
from cableway.flow.bloc import Fold, StageBloc
from cableway.flow.config import Batch, ETLPipelineConfig, ExecutionType, Gather, RateLimit, Retry, StageConfig
from cableway.flow.lanes.protocol import HandlerFactory
from cableway.items import WorkItem
from cableway.joining import joined_members
from cableway.tally import RowCounts

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, JsonObject, PipelineDefinition, StageDefinition
    from cableway.flow.pipeline import ETLPipeline
    from cableway.store.port import StageRecord


class Assembly:
    """One pipeline made runnable: blocs built, lanes chosen, inputs known."""

    def __init__(self, definition: PipelineDefinition, blocs: Mapping[str, Bloc], facts: RunFacts) -> None:
        self.definition = definition
        self.blocs = blocs
        self.facts = facts
        self.rows = RowCounts()
        self._inputs = _declared_inputs(definition)
        self._last_reader = _last_readers(definition, self._inputs)
        self._sides = _side_inputs(definition, blocs)
        self._side_values: dict[str, Any] = {}
        self._lanes = {
            bloc.name: str(lane_of(stage, bloc, blocs[bloc.name]))
            for stage in definition.stages
            for bloc in stage.blocs
        }
        self._views = {name: view_of(bloc) for name, bloc in blocs.items()}

    def config(self) -> ETLPipelineConfig:
        """The flow's configuration: counts and failures alone are kept."""
        return ETLPipelineConfig(
            pipeline_name=self.definition.name,
            stages=[_stage_config(stage, self._stage_lane(stage)) for stage in self.definition.stages],
            enable_tracking=False,
            stats_interval_seconds=0,
        )

    def root(self) -> WorkItem:
        """The one item that a run begins with."""
        return WorkItem(data={}, job_id="root")

    def register(self, pipeline: ETLPipeline) -> None:
        """Give every stage of *pipeline* its handlers."""
        for index, stage in enumerate(self.definition.stages):
            merge = self._merge(index, stage, pipeline.share)
            pipeline.register_stage_blocs(stage.name, [self._stage_bloc(stage, bloc) for bloc in stage.blocs], merge)

    def rows_in_and_out(self) -> tuple[int, int]:
        """Rows that the loaders gave, and rows that the exporters wrote."""
        return tally.rows_in_and_out(self.blocs, self.rows)

    def outputs(self) -> JsonObject:
        """What each exporter says of its output, by bloc."""
        return tally.outputs_of(self.blocs)

    def stage_records(self, pipeline: ETLPipeline) -> list[StageRecord]:
        """What each stage did, and below a stage of several blocs what each of them did."""
        stages = {stage.name: stage for stage in self.definition.stages}
        statistics = {stage.name: stage for stage in pipeline.stage_statistics()}
        return tally.stage_records(stages, self._lanes, statistics, self.rows)

    def context(self, bloc: str, item: WorkItem | None = None) -> RunContext:
        """What *bloc* sees while it works on *item*, or before the first one."""
        return RunContext(
            self.facts,
            bloc=bloc,
            item_id=item.job_id if item is not None else "",
            data=_data_of(item) if item is not None else None,
            inputs=self._inputs[bloc],
            view=self._views[bloc],
        )

    def _stage_lane(self, stage: StageDefinition) -> ExecutionType:
        """The lane that all blocs of *stage* share, else the one that it names."""
        lanes = {self._lanes[bloc.name] for bloc in stage.blocs}
        return ExecutionType(lanes.pop() if len(lanes) == 1 else stage.lane or "async")

    def _merge(
        self, index: int, stage: StageDefinition, share: Callable[[str, Any], None]
    ) -> Callable[[WorkItem, Mapping[str, Any]], dict[str, Any]]:
        ends_here = frozenset(name for name, last in self._last_reader.items() if last <= index)
        sides = self._sides & {bloc.name for bloc in stage.blocs}
        counted = [bloc.name for bloc in stage.blocs if bloc.name not in sides]
        shared: set[str] = set()

        def merge(parent: WorkItem, results: Mapping[str, Any]) -> dict[str, Any]:
            for name in sides - shared:
                if name in results:
                    share(name, results[name])
                    self.rows.add(name, results[name])
                    self._side_values[name] = results[name]
                    shared.add(name)
            for name in counted:
                if name in results:
                    self.rows.add(name, results[name])
            before = self._side_values if stage.gather else parent.data
            kept = {name: value for name, value in before.items() if name not in ends_here}
            return kept | {name: value for name, value in results.items() if name not in ends_here}

        return merge

    def _stage_bloc(self, stage: StageDefinition, definition: BlocDefinition) -> StageBloc:
        bloc = self.blocs[definition.name]
        lane = lane_of(stage, definition, bloc)
        if stage.gather and isinstance(bloc, TransformerBloc):
            return StageBloc(name=bloc.name, handler=_gathered(bloc), execution_type=lane, fold=self._fold(bloc))
        if lane.in_child:
            return self._child_bloc(definition, bloc, lane)
        return StageBloc(name=bloc.name, handler=self._local_handler(bloc), execution_type=lane)

    def _fold(self, bloc: TransformerBloc) -> Fold:
        def add(state: Any, item: WorkItem) -> Any:
            return bloc.fold(state, self.context(bloc.name, item))

        return Fold(initial=bloc.initial, add=add, finish=bloc.finish)

    def _child_bloc(self, definition: BlocDefinition, bloc: Bloc, lane: ExecutionType) -> StageBloc:
        inputs = self._inputs[definition.name]
        sides = tuple(name for name in inputs if name in self._sides)
        own = tuple(name for name in inputs if name not in self._sides)
        if lane is ExecutionType.INTERPRETER and bloc.worker is not None:
            target, config = bloc.worker, _plain(bloc.config)
        else:
            target, config = f"{type(bloc).__module__}:{type(bloc).__qualname__}", definition.config
        factory = HandlerFactory(
            path="cableway.blocs.worker:build",
            args=(target, definition.name, config, asdict(self.facts), inputs),
            shared=sides,
        )

        def select(item: WorkItem) -> dict[str, Any]:
            data = _data_of(item)
            return {name: data[name] for name in own if name in data}

        return StageBloc(name=definition.name, handler=factory, execution_type=lane, select=select)

    def _local_handler(self, bloc: Bloc) -> Callable[[WorkItem], Any]:
        match bloc:
            case LoaderBloc():
                return self._loader_handler(bloc)
            case TransformerBloc():
                return self._handler(bloc, bloc.transform)
            case ExporterBloc():
                return self._exporter_handler(bloc)
            case _:
                raise TypeError(f"bloc {bloc.name!r} is no loader, transformer or exporter")

    def _handler(self, bloc: Bloc, method: Callable[[RunContext], Any]) -> Callable[[WorkItem], Any]:
        if inspect.iscoroutinefunction(method):

            async def work_async(item: WorkItem) -> Any:
                return await method(self.context(bloc.name, item))

            return work_async

        def work(item: WorkItem) -> Any:
            return method(self.context(bloc.name, item))

        return work

    def _exporter_handler(self, bloc: ExporterBloc) -> Callable[[WorkItem], Any]:
        """Rows written are counted here: an exporter's result is no data for later stages."""
        method = bloc.export
        if inspect.iscoroutinefunction(method):

            async def export_async(item: WorkItem) -> None:
                self.rows.add(bloc.name, await method(self.context(bloc.name, item)))

            return export_async

        def export(item: WorkItem) -> None:
            self.rows.add(bloc.name, method(self.context(bloc.name, item)))

        return export

    def _loader_handler(self, bloc: LoaderBloc) -> Callable[[WorkItem], Any]:
        if not bloc.batched:
            return self._handler(bloc, bloc.load)
        if inspect.isasyncgenfunction(bloc.load):

            async def stream_async(item: WorkItem) -> AsyncIterator[WorkItem]:
                async for position, value in bloc.load(self.context(bloc.name, item)):
                    yield WorkItem(data=value, job_id=position)

            return stream_async

        def stream(item: WorkItem) -> Iterator[WorkItem]:
            for position, value in bloc.load(self.context(bloc.name, item)):
                yield WorkItem(data=value, job_id=position)

        return stream


def lane_of(stage: StageDefinition, definition: BlocDefinition, bloc: Bloc) -> ExecutionType:
    """Where *bloc* runs: its own lane, its stage's, else async for an async bloc and thread for a sync one."""
    chosen = definition.lane or stage.lane
    if chosen is not None:
        return ExecutionType(chosen)
    return ExecutionType.ASYNC if _is_async(bloc) else ExecutionType.THREAD


def _is_async(bloc: Bloc) -> bool:
    method: Any
    match bloc:
        case LoaderBloc():
            method = bloc.load
        case TransformerBloc():
            method = bloc.transform
        case ExporterBloc():
            method = bloc.export
        case _:
            return False
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def _data_of(item: WorkItem) -> dict[str, Any]:
    """What each bloc made of *item*; the members of a batch are joined when one of its blocs first looks."""
    if isinstance(item.data, list):
        item.data = joined_members(item.data)
    data: dict[str, Any] = item.data
    return data


def _gathered(bloc: TransformerBloc) -> Callable[[WorkItem], Any]:
    """In a gather the fold has done the work: its result is the item's data."""

    def result(item: WorkItem) -> Any:
        return item.data

    result.__name__ = f"gathered_{bloc.name}"
    return result


def _plain(config: Any) -> dict[str, Any]:
    dump = getattr(config, "model_dump", None)
    return dict(dump(mode="json")) if dump is not None else asdict(config)


def _declared_inputs(definition: PipelineDefinition) -> dict[str, tuple[str, ...]]:
    declared: dict[str, tuple[str, ...]] = {}
    previous: tuple[str, ...] = ()
    for stage in definition.stages:
        for bloc in stage.blocs:
            source = bloc.config.get("source_bloc")
            if bloc.inputs is not None:
                declared[bloc.name] = bloc.inputs
            else:
                declared[bloc.name] = (source,) if isinstance(source, str) else previous
        previous = tuple(bloc.name for bloc in stage.blocs)
    return declared


def _last_readers(definition: PipelineDefinition, inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The index of the last stage that reads each bloc's data; -1 where none does."""
    last = {bloc.name: -1 for stage in definition.stages for bloc in stage.blocs}
    for index, stage in enumerate(definition.stages):
        for bloc in stage.blocs:
            for name in inputs[bloc.name]:
                last[name] = index
    return last


def _side_inputs(definition: PipelineDefinition, blocs: Mapping[str, Bloc]) -> frozenset[str]:
    """Unbatched loaders beside the one that makes the stream."""
    loaders = [
        bloc for definition_ in definition.stages[0].blocs if isinstance(bloc := blocs[definition_.name], LoaderBloc)
    ]
    if not any(loader.batched for loader in loaders):
        return frozenset()
    return frozenset(loader.name for loader in loaders if not loader.batched)


def _stage_config(stage: StageDefinition, lane: ExecutionType) -> StageConfig:
    retry, batch = stage.retry, stage.batch
    return StageConfig(
        name=stage.name,
        execution_type=lane,
        workers=stage.workers,
        queue_size=stage.queue_size,
        queue_bytes=stage.queue_bytes,
        max_item_bytes=stage.max_item_bytes,
        retry=None
        if retry.attempts == 1
        else Retry(
            attempts=retry.attempts,
            initial_s=retry.initial_s,
            factor=retry.factor,
            max_s=retry.max_s,
            jitter=retry.jitter,
            retry_on=retry.retry_on,
            give_up_on=retry.give_up_on,
        ),
        timeout_s=stage.timeout_s,
        queue_timeout_s=stage.queue_timeout_s,
        on_error=stage.on_error,
        batch=None if batch is None else Batch(count=batch.count, bytes=batch.size_bytes, period_s=batch.period_s),
        gather=Gather(max_bytes=stage.gather_bytes) if stage.gather else None,
        ordered=stage.ordered,
        rate_limit=None if stage.rate_per_s is None else RateLimit(per_s=stage.rate_per_s),
        chunk=stage.chunk or "auto",
    )
