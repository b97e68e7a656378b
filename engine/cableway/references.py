"""References in a config: ``${param:day}``, resolved when the run starts.

A string that is one reference takes the parameter's own type; inside a longer string it is written
as text. Only config fields are looked at, never data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from cableway.errors import DefinitionError, Fault

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, PipelineDefinition

_REFERENCE = re.compile(r"\$\{param:([A-Za-z_][A-Za-z0-9_]*)\}")


def with_parameters(
    definition: PipelineDefinition, parameters: Mapping[str, Any]
) -> tuple[PipelineDefinition, frozenset[str]]:
    """*definition* with its references resolved, and the names of the blocs that had some.

    Raise `DefinitionError` with the pointer of a reference to a parameter that is not there.
    """
    resolved: set[str] = set()

    def of_bloc(pointer: str, bloc: BlocDefinition) -> BlocDefinition:
        if not has_reference(bloc.config):
            return bloc
        resolved.add(bloc.name)
        return replace(bloc, config=resolve(bloc.config, parameters, f"{pointer}/config"))

    stages = tuple(
        replace(stage, blocs=tuple(of_bloc(f"/stages/{s}/blocs/{b}", bloc) for b, bloc in enumerate(stage.blocs)))
        for s, stage in enumerate(definition.stages)
    )
    return (replace(definition, stages=stages) if resolved else definition), frozenset(resolved)


def is_reference(value: Any) -> bool:
    """Whether *value* is a text that a reference stands in, whatever it refers to: known when the run starts."""
    return isinstance(value, str) and "${" in value


def has_reference(value: Any) -> bool:
    """Whether a reference stands anywhere in *value*."""
    match value:
        case str():
            return _REFERENCE.search(value) is not None
        case dict():
            return any(has_reference(member) for member in cast("dict[str, Any]", value).values())
        case list() | tuple():
            return any(has_reference(member) for member in cast("list[Any] | tuple[Any, ...]", value))
        case _:
            return False


def resolve(value: Any, parameters: Mapping[str, Any], pointer: str = "") -> Any:
    """*value* with every reference replaced.

    Raise `DefinitionError` with the pointer of a reference to a parameter that is not there.
    """
    match value:
        case str():
            return _resolve_text(value, parameters, pointer)
        case dict():
            pairs = cast("dict[str, Any]", value)
            return {key: resolve(member, parameters, f"{pointer}/{key}") for key, member in pairs.items()}
        case list() | tuple():
            members = cast("list[Any] | tuple[Any, ...]", value)
            return [resolve(member, parameters, f"{pointer}/{n}") for n, member in enumerate(members)]
        case _:
            return value


def _resolve_text(text: str, parameters: Mapping[str, Any], pointer: str) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole:
        return _parameter(whole[1], parameters, pointer)
    return _REFERENCE.sub(lambda match: _written(_parameter(match[1], parameters, pointer)), text)


def _written(value: Any) -> str:
    """*value* inside a text: a text as it is, nothing for one that was not given, else as JSON has it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _parameter(name: str, parameters: Mapping[str, Any], pointer: str) -> Any:
    if name in parameters:
        return parameters[name]
    known = ", ".join(sorted(parameters)) or "none"
    fault = Fault(pointer, "unknown_parameter", f"no parameter {name!r}; the pipeline has: {known}")
    raise DefinitionError(f"{pointer}: {fault.message}", [fault])
