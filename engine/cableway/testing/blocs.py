"""A bloc under test: built from its type and config as a run would, and called with the data it is to see."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from cableway.blocs.kinds import Bloc, Ending, ExporterBloc, LoaderBloc, Resources, TransformerBloc
from cableway.blocs.tables import view_of
from cableway.catalog import Catalog
from cableway.context import RunContext, RunFacts
from cableway.definition import BlocDefinition
from cableway.errors import DefinitionError, Fault
from cableway.testing.stages import completed

if TYPE_CHECKING:
    from cableway.testing.clock import FakeClock

INPUT = "input"
"""The name under which one input without a name is given."""


def run_bloc(
    bloc: Bloc | type[Bloc] | str,
    config: Mapping[str, Any] | None = None,
    *,
    inputs: Any = None,
    parameters: Mapping[str, Any] | None = None,
    facts: RunFacts | None = None,
    blocs: Sequence[str] = (),
    resources: Resources | None = None,
    clock: FakeClock | None = None,
) -> Any:
    """Let *bloc* work on one item and return what it gave: a value, or a list where it gives several.

    *bloc* is one that is built, a class, or the name of a type (of the catalog, or of the modules *blocs*);
    the last two are built from *config*, which is checked as in a definition. *inputs* is what it reads: a
    mapping by bloc name (of strings to data), or one value. A loader in batches gives a list of
    ``(position, value)``. The bloc is opened before and closed after.

    Raise `DefinitionError` for a bad config, and whatever the bloc raises.
    """
    work = run_bloc_async(
        bloc, config, inputs=inputs, parameters=parameters, facts=facts, blocs=blocs, resources=resources
    )
    return completed(work, clock)


async def run_bloc_async(
    bloc: Bloc | type[Bloc] | str,
    config: Mapping[str, Any] | None = None,
    *,
    inputs: Any = None,
    parameters: Mapping[str, Any] | None = None,
    facts: RunFacts | None = None,
    blocs: Sequence[str] = (),
    resources: Resources | None = None,
) -> Any:
    """`run_bloc` for a test that is a coroutine."""
    built = built_bloc(bloc, config or {}, Catalog(blocs))
    built.bind(resources or Resources())
    data = _named(inputs)
    facts = facts or RunFacts(run_id="test", pipeline="test", line="test", parameters=parameters or {})
    context = RunContext(facts, bloc=built.name, item_id="1", data=data, inputs=tuple(data), view=view_of(built))
    await _settled(built.open(context))
    try:
        result = await _everything(_called(built, context))
    except BaseException:
        await _settled(built.close(Ending.FAILED))
        raise
    await _settled(built.close(Ending.SUCCEEDED))
    return result


def built_bloc(bloc: Bloc | type[Bloc] | str, config: Mapping[str, Any], catalog: Catalog) -> Bloc:
    """The bloc that *bloc* and *config* say. Raise `DefinitionError` with a fault for each thing that is wrong."""
    if isinstance(bloc, Bloc):
        if config:
            raise TypeError("a bloc that is built has its config already")
        return bloc
    if isinstance(bloc, str):
        return catalog.build(BlocDefinition(name=bloc, bloc_type=bloc, config=dict(config)), checked=False)
    return _of_class(bloc, config)


def _of_class(bloc_type: type[Bloc], config: Mapping[str, Any]) -> Bloc:
    from cableway.definitions.configs import adapter_of, config_faults

    made, faults = config_faults(adapter_of(bloc_type.Config), config, references=False)
    if made is not None:
        faults = [Fault(f"/{field}", "invalid", message) for field, message in bloc_type.faults(made)]
    if faults:
        raise DefinitionError(f"{bloc_type.__name__}: {faults[0].pointer}: {faults[0].message}", faults)
    return bloc_type(getattr(bloc_type, "bloc_type", bloc_type.__name__), made)


def _named(inputs: Any) -> dict[str, Any]:
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return dict(cast("Mapping[str, Any]", inputs))
    return {INPUT: inputs}


def _called(bloc: Bloc, context: RunContext) -> Any:
    match bloc:
        case LoaderBloc():
            return bloc.load(context)
        case TransformerBloc():
            return bloc.transform(context)
        case ExporterBloc():
            return bloc.export(context)
        case _:
            raise TypeError(f"{type(bloc).__name__} is no loader, transformer or exporter")


async def _everything(result: Any) -> Any:
    """The result itself; what comes one by one is gathered."""
    result = await _settled(result)
    if isinstance(result, AsyncIterable):
        return [value async for value in cast("AsyncIterable[Any]", result)]
    return list(cast("Iterator[Any]", result)) if isinstance(result, Iterator) else result


async def _settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
