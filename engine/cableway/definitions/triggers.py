"""What is wrong with triggers: those that a pipeline document lists, and those that are stored by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from cableway.definition import (
    ParameterDefinition,
    PipelineDefinition,
    SecretDefinition,
    SignatureDefinition,
    TriggerDefinition,
    TriggerKind,
)
from cableway.definitions.bounds import out_of_bounds
from cableway.definitions.cron_grammar import CronError, parse_cron, zone_fault
from cableway.definitions.expressions import ExpressionError, parse_condition, parse_path
from cableway.definitions.pointers import escaped
from cableway.errors import Fault, ParameterError
from cableway.parameters import checked_parameters

HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""A trigger's name: it stands in a webhook's address."""
SECRET = re.compile(r"env:(?!DATABASE_)[A-Za-z_][A-Za-z0-9_]{0,99}|secret:[A-Za-z_][A-Za-z0-9_-]{0,127}", re.ASCII)
"""A reference to what signs webhooks."""
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
"""The name of a header."""
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""What stands for a part of a webhook in the text that is signed."""
_COMMON = frozenset({"kind", "expression", "timezone", "enabled", "parameters"})
_OF_EVENTS = frozenset({"key", "remember_days", "when", "match"})


def trigger_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    """Every fault in the triggers of *definition*, at pointers from the document's root."""
    for name, trigger in definition.triggers.items():
        pointer = f"/triggers/{escaped(name)}"
        if not HOOK_NAME.fullmatch(name):
            yield Fault(pointer, "name", "must be 1 to 100 letters, digits, dots, dashes and underscores")
        if trigger.kind == "cron":
            yield from _cron_faults(trigger, pointer, definition)
        else:
            yield from event_faults(trigger, pointer)
            yield from _mapping_faults(trigger, f"{pointer}/parameters", definition.parameters)


def config_faults(kind: TriggerKind, config: Mapping[str, Any], pointer: str) -> Iterator[Fault]:
    """Every fault in the *config* of a webhook's or an event's trigger that no document lists."""
    from cableway.definitions.configs import adapter_of
    from cableway.definitions.configs import config_faults as faults_of_form

    aside = [name for name in ("kind", "expression", "timezone", "enabled") if name in config]
    for name in aside:
        yield Fault(f"{pointer}/{name}", "not_here", "belongs to the trigger, not to its config")
    if aside:
        return
    trigger, faults = faults_of_form(adapter_of(TriggerDefinition), {**config, "kind": kind}, references=True)
    for fault in faults:
        yield Fault(f"{pointer}{fault.pointer}", fault.code, fault.message)
    if trigger is not None:
        yield from event_faults(trigger, pointer)


def _cron_faults(trigger: TriggerDefinition, pointer: str, definition: PipelineDefinition) -> Iterator[Fault]:
    if trigger.expression is None:
        yield Fault(f"{pointer}/expression", "missing", "is required of a cron trigger")
    else:
        try:
            parse_cron(trigger.expression)
        except CronError as error:
            yield Fault(f"{pointer}/expression", "cron", str(error))
    if trigger.timezone is not None and (reason := zone_fault(trigger.timezone)):
        yield Fault(f"{pointer}/timezone", "timezone", reason)
    if trigger.secrets:
        yield Fault(f"{pointer}/secrets", "not_here", "belongs to a webhook")
    try:
        checked_parameters(definition.parameters, trigger.parameters)
    except ParameterError as error:
        for fault in error.faults:
            yield Fault(f"{pointer}{fault.pointer}", fault.code, fault.message)


def event_faults(trigger: TriggerDefinition, pointer: str) -> Iterator[Fault]:
    """Every fault in a webhook's or an event's trigger by itself, at pointers that begin with *pointer*."""
    for name in ("expression", "timezone"):
        if getattr(trigger, name):
            yield Fault(f"{pointer}/{name}", "not_here", "belongs to a cron trigger")
    yield from out_of_bounds(trigger, pointer)
    if trigger.kind == "event":
        yield from _match_faults(trigger, pointer)
    else:
        yield from _secret_faults(trigger, pointer)
        yield from _signature_faults(trigger, pointer)
        if trigger.match is not None:
            yield Fault(f"{pointer}/match", "not_here", "belongs to an event trigger")
    if trigger.when is not None and (fault := _expression_fault(parse_condition, trigger.when)):
        yield Fault(f"{pointer}/when", "expression", fault)
    if trigger.key not in {None, "digest"} and (fault := _expression_fault(parse_path, trigger.key or "")):
        yield Fault(f"{pointer}/key", "expression", f"{fault}; or be digest")
    for name, value in trigger.parameters.items():
        if is_path(value) and (fault := _expression_fault(parse_path, value)):
            yield Fault(f"{pointer}/parameters/{escaped(name)}", "expression", f"{fault}; $$ stands for a dollar sign")


def is_path(value: Any) -> bool:
    """Whether a mapped parameter is a path into what came, and not a value as it stands."""
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")


def _match_faults(trigger: TriggerDefinition, pointer: str) -> Iterator[Fault]:
    usual = TriggerDefinition()
    for entry in fields(trigger):
        if entry.name not in _COMMON | _OF_EVENTS and getattr(trigger, entry.name) != getattr(usual, entry.name):
            yield Fault(f"{pointer}/{entry.name}", "not_here", "belongs to a webhook")
    match = trigger.match
    if match is None or not any(getattr(match, entry.name) for entry in fields(match)):
        yield Fault(f"{pointer}/match", "missing", "must say which events: a source, bucket, queue or rule")


def _secret_faults(trigger: TriggerDefinition, pointer: str) -> Iterator[Fault]:
    if trigger.auth == "none" and trigger.secrets:
        yield Fault(f"{pointer}/secrets", "not_here", "is of no use with auth: none")
    if trigger.auth != "none" and not trigger.secrets:
        yield Fault(
            f"{pointer}/secrets",
            "missing",
            "must name at least one secret that signs, such as secret:orders_hook",
        )
    for number, secret in enumerate(trigger.secrets):
        place, reference = f"{pointer}/secrets/{number}", secret
        if isinstance(secret, SecretDefinition):
            if secret.expires is not None and instant(secret.expires) is None:
                yield Fault(f"{place}/expires", "instant", "must be an instant with its zone: 2027-01-31T00:00:00Z")
            place, reference = f"{place}/secret", secret.secret
        if not SECRET.fullmatch(str(reference)):
            yield Fault(place, "secret", "must be env:VARIABLE, none of DATABASE_*, or secret:NAME")


def instant(text: str) -> datetime | None:
    """The instant that *text* is; None where it is none, or its zone is not said."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _signature_faults(trigger: TriggerDefinition, pointer: str) -> Iterator[Fault]:
    if not HEADER.fullmatch(trigger.header):
        yield Fault(f"{pointer}/header", "header", "must be the name of a header")
    signature = trigger.signature
    if trigger.auth == "hmac" and signature is None:
        yield Fault(f"{pointer}/signature", "missing", "is required with auth: hmac; it needs at least a header")
    if signature is not None and trigger.auth != "hmac":
        yield Fault(f"{pointer}/signature", "not_here", "belongs to auth: hmac")
    if signature is not None:
        yield from _form_faults(signature, f"{pointer}/signature")


def _form_faults(signature: SignatureDefinition, pointer: str) -> Iterator[Fault]:
    for name in ("header", "timestamp_header"):
        value = getattr(signature, name)
        if value is not None and not HEADER.fullmatch(value):
            yield Fault(f"{pointer}/{name}", "header", "must be the name of a header")
    parts = PLACEHOLDER.findall(signature.content)
    if parts.count("body") != 1 or not set(parts) <= {"body", "timestamp"}:
        message = "must hold {body} once, and beside it nothing in braces but {timestamp}"
        yield Fault(f"{pointer}/content", "content", message)
    elif ("timestamp" in parts) != (signature.timestamp_header is not None):
        yield Fault(f"{pointer}/content", "content", "must hold {timestamp} just where there is a timestamp_header")


def _mapping_faults(
    trigger: TriggerDefinition, pointer: str, parameters: Mapping[str, ParameterDefinition]
) -> Iterator[Fault]:
    """What is wrong with a mapping for these *parameters*: names, values that stand in it, and what it leaves out."""
    if not trigger.parameters:
        return
    paths = {name for name, value in trigger.parameters.items() if is_path(value)}
    given = {name: value for name, value in trigger.parameters.items() if name not in paths}
    try:
        checked_parameters(parameters, given)
    except ParameterError as error:
        for fault in error.faults:
            name = fault.pointer.removeprefix("/parameters/")
            if not (fault.code == "missing" and name in paths):
                yield Fault(f"{pointer}/{name}", fault.code, fault.message)
    for name in sorted(paths - parameters.keys()):
        yield Fault(f"{pointer}/{escaped(name)}", "unknown", "is no parameter of this pipeline")


def _expression_fault(parse: Any, text: str) -> str | None:
    try:
        parse(text)
    except ExpressionError as error:
        return str(error)
    return None
