"""
References in a config, resolved when the run starts: ``${param:day}``, ``${env:REGION}``, ``${secret:dsn}``.

A string that is one reference to a parameter takes the parameter's own type; inside a longer string
it is written as text. Variables are those that the pipeline lists in its ``env``. Secrets are those of
its ``secrets``; they are only named here (`SecretText`), to be looked up where they are used. What a
reference gave is not looked into again, and only config fields are looked at, never data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from cableway.errors import DefinitionError, Fault
from cableway.redaction import SecretText
from cableway.secret_sources import OWN

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, PipelineDefinition

_REFERENCE = re.compile(r"\$\{(?:(param|env):([A-Za-z_][A-Za-z0-9_]*)|(secret):([A-Za-z_][A-Za-z0-9_-]*))\}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Referable:
    """What references may lead to."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    env: tuple[str, ...] = ()
    """The variables that the pipeline lists."""
    secrets: tuple[str, ...] = ()
    """The secrets that it lists."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def parameter(self, name: str, pointer: str) -> Any:
        """Raise `DefinitionError` with *pointer* where there is none of that name."""
        if name in self.parameters:
            return self.parameters[name]
        known = ", ".join(sorted(self.parameters)) or "none"
        raise _fault(pointer, "unknown_parameter", f"no parameter {name!r}; the pipeline has: {known}")

    def variable(self, name: str, pointer: str) -> str:
        """Raise `DefinitionError` with *pointer* for one that the pipeline may not read, or that is not set."""
        reason = unlisted_variable(name, self.env)
        if reason is None and not self.variables.get(name):
            reason = f"${{env:{name}}}: the variable is not set"
        if reason is not None:
            raise _fault(pointer, "env", reason)
        return self.variables[name]

    def secret(self, name: str, pointer: str) -> str:
        """Its name. Raise `DefinitionError` with *pointer* for one that the pipeline does not list."""
        reason = unlisted_secret(name, self.secrets)
        if reason is not None:
            raise _fault(pointer, "secret", reason)
        return name


def unlisted_variable(name: str, env: tuple[str, ...]) -> str | None:
    """Why a pipeline that lists *env* may not refer to the variable *name*; None where it may."""
    if name.upper().startswith(OWN):
        return f"${{env:{name}}}: no pipeline reads {OWN}*; make the variable a secret under another name"
    if name not in env:
        return f"${{env:{name}}}: the pipeline does not list {name!r} in its 'env'"
    return None


def unlisted_secret(name: str, secrets: tuple[str, ...]) -> str | None:
    """Why a pipeline that lists *secrets* may not refer to the secret *name*; None where it may."""
    return None if name in secrets else f"${{secret:{name}}}: the pipeline does not list {name!r} in its 'secrets'"


def with_references(
    definition: PipelineDefinition, parameters: Mapping[str, Any], variables: Mapping[str, str]
) -> tuple[PipelineDefinition, frozenset[str]]:
    """*definition* with its references resolved (secrets as `SecretText`), and the names of the blocs that had some.

    Raise `DefinitionError` with the pointer of a reference that leads nowhere.
    """
    known = Referable(parameters=parameters, env=definition.env, secrets=definition.secrets, variables=variables)
    resolved: set[str] = set()

    def of_bloc(pointer: str, bloc: BlocDefinition) -> BlocDefinition:
        if not has_reference(bloc.config):
            return bloc
        resolved.add(bloc.name)
        return replace(bloc, config=resolve(bloc.config, known, f"{pointer}/config"))

    stages = tuple(
        replace(stage, blocs=tuple(of_bloc(f"/stages/{s}/blocs/{b}", bloc) for b, bloc in enumerate(stage.blocs)))
        for s, stage in enumerate(definition.stages)
    )
    return (replace(definition, stages=stages) if resolved else definition), frozenset(resolved)


def is_reference(value: Any) -> bool:
    """Whether *value* is a text that a reference stands in, whatever it refers to: known when the run starts."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


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


def resolve(value: Any, known: Referable, pointer: str = "") -> Any:
    """*value* with every reference replaced.

    Raise `DefinitionError` with the pointer of one that leads nowhere.
    """
    match value:
        case str():
            return _resolve_text(value, known, pointer)
        case dict():
            pairs = cast("dict[str, Any]", value)
            return {key: resolve(member, known, f"{pointer}/{key}") for key, member in pairs.items()}
        case list() | tuple():
            members = cast("list[Any] | tuple[Any, ...]", value)
            return [resolve(member, known, f"{pointer}/{n}") for n, member in enumerate(members)]
        case _:
            return value


def _resolve_text(text: str, known: Referable, pointer: str) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole and whole[1] == "param":
        return known.parameter(whole[2], pointer)
    # Text and secrets' names by turns.
    parts, end = [""], 0
    for match in _REFERENCE.finditer(text):
        parts[-1] += text[end : match.start()]
        end = match.end()
        if match[3]:
            parts += [known.secret(match[4], pointer), ""]
        elif match[1] == "env":
            parts[-1] += known.variable(match[2], pointer)
        else:
            parts[-1] += _written(known.parameter(match[2], pointer))
    parts[-1] += text[end:]
    return SecretText(tuple(parts)) if len(parts) > 1 else parts[0]


def _written(value: Any) -> str:
    """*value* inside a text: a text as it is, nothing for one that was not given, else as JSON has it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _fault(pointer: str, code: str, message: str) -> DefinitionError:
    return DefinitionError(f"{pointer}: {message}", [Fault(pointer, code, message)])
