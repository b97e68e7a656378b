"""
A bloc in a child: built there from its type and config, called for each unit.

Only what a child needs is imported here, so that the interpreter lane, where pydantic does not
load, can use it as well.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, cast

from cableway.blocs.kinds import Bloc, TransformerBloc
from cableway.blocs.tables import view_of
from cableway.context import RunContext, RunFacts
from cableway.errors import DefinitionError
from cableway.logs import LogPlan, log_in_worker
from cableway.redaction import guard, names_in, revealed, sealed

Handler = Callable[[str, Mapping[str, Any]], Any]
House = tuple[LogPlan | None, tuple[str, ...]]
"""How the job logs, and the secrets that it keeps to itself."""


def build_in_house(
    house: House | None,
    path: str,
    name: str,
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    inputs: tuple[str, ...],
    shared: Mapping[str, Any],
) -> Handler:
    """`build` in a worker that logs as the job does and keeps its secrets.

    Without a *house* the worker serves others as well: it looks up by itself what secrets *config* refers to.
    """
    if house is not None:
        plan, secrets = house
        guard(secrets)
        if plan is not None:
            log_in_worker(plan)
    elif names := sorted(set(names_in(config))):
        config = revealed(dict(config), _looked_up(names))
    return build(path, name, config, facts, inputs, shared)


def _looked_up(names: list[str]) -> Mapping[str, str]:
    from cableway.secret_sources import SecretSources
    from cableway.settings import environment, read_settings

    return SecretSources(read_settings().secrets, environment()).values(names)


def build(
    path: str,
    name: str,
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    inputs: tuple[str, ...],
    shared: Mapping[str, Any],
) -> Handler:
    """The handler of one bloc, called as ``handler(job_id, data)`` with the item's own inputs by bloc name.

    *path* is ``module:class`` of a bloc type, or ``module:function`` of its plain worker. What *data* lacks of
    *inputs* is a side input and comes from *shared*. Raise `DefinitionError` when *path* leads to nothing usable.
    """
    target = _target(path)
    run = RunFacts(**facts)
    if isinstance(target, type) and issubclass(target, Bloc):
        bloc = _built(target, name, config)
        view, work = view_of(bloc), _work_of(bloc)
        opened = bloc.open(RunContext(run, bloc=name, inputs=inputs))
        if inspect.isawaitable(opened):
            _loop().run(_completed(opened))
    else:
        view, work = None, _plain_work(target, dict(config))

    def handle(job_id: str, data: Mapping[str, Any]) -> Any:
        own = {key: data[key] if key in data else shared[key] for key in inputs if key in data or key in shared}
        return work(RunContext(run, bloc=name, item_id=job_id, data=own, inputs=inputs, view=view))

    return handle


def _target(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DefinitionError(f"a worker cannot import {path}: {error}") from error


def _built(bloc_type: type[Bloc], name: str, config: Mapping[str, Any]) -> Bloc:
    """The job has checked the config, so a dataclass takes it as it is."""
    made: Any = bloc_type.Config
    validate = getattr(made, "model_validate", None)
    return bloc_type(name, sealed(validate(dict(config)) if validate is not None else made(**config)))


def _plain_work(function: Any, config: dict[str, Any]) -> Callable[[RunContext], Any]:
    def work(context: RunContext) -> Any:
        return function(config, context)

    return work


def _work_of(bloc: Bloc) -> Callable[[RunContext], Any]:
    """What the bloc does with an item; in a child that is sync, for its loop is the bloc's alone."""
    if isinstance(bloc, TransformerBloc):
        method: Callable[[RunContext], Any] = bloc.transform
    else:
        # A loader of a later stage; exporters stay where their connection is.
        method = cast("Any", bloc).load

    def work(context: RunContext) -> Any:
        result = method(context)
        if inspect.isawaitable(result):
            result = _loop().run(_completed(result))
        if isinstance(result, AsyncIterator):
            return _stepwise(cast("AsyncIterator[Any]", result))
        return result

    return work


async def _completed(result: Any) -> Any:
    return await result


def _stepwise(values: AsyncIterator[Any]) -> Iterator[Any]:
    ended = object()
    while (value := _loop().run(_completed(anext(values, ended)))) is not ended:
        yield value


_runner: asyncio.Runner | None = None


def _loop() -> asyncio.Runner:
    """One loop for the child's whole life, so that what an async bloc opened stays usable."""
    global _runner  # noqa: PLW0603 - a child has one main thread and one loop
    if _runner is None:
        _runner = asyncio.Runner()
    return _runner
