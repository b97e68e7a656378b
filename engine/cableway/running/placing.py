"""Where a bloc runs, and the handler that it becomes there: one for each lane and kind of bloc."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc, TransformerBloc
from cableway.context import RunContext
from cableway.errors import DefinitionError
from cableway.flow.config import ExecutionType
from cableway.items import WorkItem
from cableway.redaction import SecretText, revealed
from cableway.running.report import lack_of_unit

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, StageDefinition
    from cableway.running.gate import Gate

See = Callable[[WorkItem], RunContext]
"""What a bloc sees of an item."""
Handler = Callable[[WorkItem], Any]


def lane_of(stage: StageDefinition, definition: BlocDefinition, bloc: Bloc) -> ExecutionType:
    """Its own lane, its stage's, else async for an async bloc and thread for a sync one.

    Raise `DefinitionError` for a loader in batches in a child: its items are made beside the job.
    """
    if stage.gather and isinstance(bloc, TransformerBloc):
        return ExecutionType.ASYNC  # folded by the flow itself, as items come
    chosen = definition.lane or stage.lane
    if chosen is None:
        return ExecutionType.ASYNC if is_async(method_of(bloc)) else ExecutionType.THREAD
    lane = ExecutionType(chosen)
    if lane.in_child and isinstance(bloc, LoaderBloc) and bloc.batched:
        raise DefinitionError(
            f"bloc {bloc.name!r} loads in batches, so it runs in the async or thread lane, not {lane}"
        )
    return lane


def method_of(bloc: Bloc) -> Callable[[RunContext], Any]:
    """What *bloc* does with an item. Raise `DefinitionError` for a class of no known kind."""
    match bloc:
        case LoaderBloc():
            return bloc.load
        case TransformerBloc():
            return bloc.transform
        case ExporterBloc():
            return bloc.export
        case _:
            kinds = "LoaderBloc, TransformerBloc nor ExporterBloc"
            raise DefinitionError(f"bloc {bloc.name!r}: {type(bloc).__qualname__} extends neither {kinds}")


def is_async(method: Callable[..., Any]) -> bool:
    """Whether *method* is a coroutine function or an asynchronous generator function."""
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def local_handler(bloc: Bloc, lane: ExecutionType, see: See, gate: Gate) -> Handler:
    """The handler of *bloc* beside the job; a batched loader's items come in by *gate*."""
    method = method_of(bloc)
    if isinstance(bloc, LoaderBloc) and bloc.batched:
        return _stream(method, see, gate) if lane is ExecutionType.THREAD else _stream_async(method, see, gate)
    return _call(method, see) if lane is ExecutionType.THREAD else _call_async(method, see)


def _call(method: Callable[[RunContext], Any], see: See) -> Handler:
    def work(item: WorkItem) -> Any:
        try:
            result = method(see(item))
            # An async bloc that was put in a thread has that unit's loop to itself.
            return asyncio.run(_awaited(result)) if inspect.iscoroutine(result) else _told(result)
        except (OSError, ImportError) as error:
            if (lack := lack_of_unit(error)) is not None:
                raise lack from error
            raise

    return work


def _call_async(method: Callable[[RunContext], Any], see: See) -> Handler:
    async def work(item: WorkItem) -> Any:
        try:
            result = method(see(item))
            return await result if inspect.isawaitable(result) else result
        except (OSError, ImportError) as error:
            if (lack := lack_of_unit(error)) is not None:
                raise lack from error
            raise

    return work


def _stream(method: Callable[[RunContext], Any], see: See, gate: Gate) -> Handler:
    def work(item: WorkItem) -> Iterator[WorkItem]:
        if gate.closed:
            return
        for position, value in _told(method(see(item))):
            if (item_id := gate.item_id(str(position))) is not None:
                yield WorkItem(data=value, job_id=item_id)

    return work


def _stream_async(method: Callable[[RunContext], Any], see: See, gate: Gate) -> Handler:
    async def work(item: WorkItem) -> AsyncIterator[WorkItem]:
        if gate.closed:
            return
        values: AsyncIterator[tuple[str, Any]] | Iterator[tuple[str, Any]] = method(see(item))
        if isinstance(values, AsyncIterator):
            async for position, value in values:
                if (item_id := gate.item_id(str(position))) is not None:
                    yield WorkItem(data=value, job_id=item_id)
        else:
            for position, value in values:
                if (item_id := gate.item_id(str(position))) is not None:
                    yield WorkItem(data=value, job_id=item_id)

    return work


async def _awaited(result: Any) -> Any:
    return await result


def _told(result: Any) -> Any:
    """*result*; an asynchronous generator as a plain one."""
    return _stepwise(result) if inspect.isasyncgen(result) else result


def _stepwise(values: AsyncIterator[Any]) -> Iterator[Any]:
    ended = object()
    with asyncio.Runner() as runner:
        while (value := runner.run(_awaited(anext(values, ended)))) is not ended:
            yield value


def worker_target(
    bloc: Bloc, definition: BlocDefinition, lane: ExecutionType, secrets: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """What a worker builds: an import path and a config of JSON values; for Dask with references to its secrets."""
    if lane is ExecutionType.INTERPRETER and bloc.worker is not None:
        return bloc.worker, _plain(bloc.config)
    config = definition.config if lane is ExecutionType.DASK else revealed(definition.config, secrets)
    # A reference gave text; where it stands for a number the job has made one of it.
    numbers = {
        name: number
        for name, text in definition.config.items()
        if isinstance(text, str | SecretText) and isinstance(number := getattr(bloc.config, name, None), int | float)
    }
    return f"{type(bloc).__module__}:{type(bloc).__qualname__}", {**config, **numbers}


def _plain(config: Any) -> dict[str, Any]:
    dump = getattr(config, "model_dump", None)
    return dict(dump(mode="json")) if dump is not None else asdict(config)
