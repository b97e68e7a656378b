"""Triggers: made, changed, deleted, and kept in step with the document of their pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from cableway.definition import TriggerDefinition, TriggerKind
from cableway.definitions.cron_grammar import CronError, parse_cron
from cableway.definitions.pointers import escaped
from cableway.definitions.triggers import config_faults
from cableway.errors import Fault, TakenError
from cableway.store.executor import Step, Steps
from cableway.store.reading import TriggerRow, read_schedulers, read_triggers
from cableway.stored.names import (
    check_revision,
    in_use,
    json_faults,
    json_text,
    name_faults,
    only,
    refuse,
    taken,
    titled,
)
from cableway.stored.schedulers import drop_of_document, follow_trigger
from cableway.stored.ticks import decide_before_change

KINDS = ("cron", "webhook", "event", "person")


def create(values: Mapping[str, Any]) -> Steps[TriggerRow]:
    """Store a new trigger. Raise `DefinitionError` with every fault, `TakenError` where the name is another's."""
    refuse(titled("trigger", values["name"]), _faults(values))
    yield Step("lock_triggers", {})
    rows = yield Step("insert_trigger", _stored({**values, "from_document": False}))
    if not rows:
        raise taken("trigger", values["name"])
    return TriggerRow(**rows[0])


def update(name: str, changes: Mapping[str, Any], *, expected_revision: int | None) -> Steps[TriggerRow]:
    """Change what is not None.

    Raise `UnknownNameError`, `ConflictError`, or `DefinitionError` with every fault: then nothing has changed.
    """
    yield Step("lock_triggers", {})
    before = only("trigger", name, (yield from read_triggers(name)))
    check_revision("trigger", before, expected_revision)
    values = {**_values(before), **{key: value for key, value in changes.items() if value is not None}}
    refuse(titled("trigger", name), _faults(values))
    if values == _values(before):
        return before
    return (yield from _put(name, values))


def delete(name: str, *, expected_revision: int | None) -> Steps[None]:
    """Delete the trigger. Raise `UnknownNameError`, `ConflictError`, or `InUseError` where a scheduler names it."""
    yield Step("lock_triggers", {})
    before = only("trigger", name, (yield from read_triggers(name)))
    check_revision("trigger", before, expected_revision)
    yield from _delete(before)


def follow_document(pipeline: str, triggers: Mapping[str, TriggerDefinition]) -> Steps[None]:
    """Make the pipeline's triggers those that its document lists, and each cron rule a scheduler of that name.

    Triggers that no document made stay as they are. Raise `TakenError` with every name that is another's.
    """
    yield Step("lock_triggers", {})
    stored = {row.name: row for row in (yield from read_triggers())}
    own = {name: row for name, row in stored.items() if row.from_document and row.pipeline == pipeline}
    others = [name for name in triggers if name in stored and name not in own]
    if others:
        faults = [Fault(f"/triggers/{escaped(name)}", "taken", "another trigger has this name") for name in others]
        raise TakenError(f"{titled('pipeline', pipeline)}: its trigger {others[0]!r} is another's by name", faults)
    for name in own.keys() - triggers.keys():
        yield from drop_of_document(name)
        yield from _delete(own[name])
    for name, trigger in triggers.items():
        values = {
            "name": name,
            "pipeline": pipeline,
            "kind": trigger.kind,
            "expression": trigger.expression,
            "config": trigger.config(),
            "enabled": trigger.enabled,
        }
        if trigger.kind != "cron":
            yield from drop_of_document(name)
        if name not in own:
            yield Step("insert_trigger", _stored({**values, "from_document": True}))
        elif values != _values(own[name]):
            yield from _put(name, values)
        if trigger.kind == "cron":
            yield from follow_trigger(name, pipeline, trigger.timezone or "UTC", trigger.parameters)


def _put(name: str, values: Mapping[str, Any]) -> Steps[TriggerRow]:
    """Write a trigger that is there, once what its schedulers were due for by the old rule is decided."""
    followers = [row.name for row in (yield from read_schedulers(trigger=name))]
    yield from decide_before_change(followers)
    rows = yield Step("update_trigger", _stored(values))
    if followers:
        yield Step("wake_schedulers", {"names": followers})
    return TriggerRow(**rows[0])


def _delete(row: TriggerRow) -> Steps[None]:
    users = yield from read_schedulers(trigger=row.name)
    if users:
        raise in_use("trigger", row.name, "scheduler", [user.name for user in users])
    yield Step("delete_trigger", {"name": row.name})


def _values(row: TriggerRow) -> dict[str, Any]:
    return {key: getattr(row, key) for key in ("name", "pipeline", "kind", "expression", "config", "enabled")}


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "config": json_text(values["config"])}


def _faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    yield from name_faults(values["name"])
    yield from name_faults(values["pipeline"], "/pipeline")
    kind, expression = values["kind"], values["expression"]
    if kind not in KINDS:
        yield Fault("/kind", "enum", f"must be one of {', '.join(KINDS)}")
    elif kind == "cron":
        yield from _cron_faults(expression)
    elif expression is not None:
        yield Fault("/expression", "not_here", "belongs to a cron trigger")
    if not isinstance(values["config"], Mapping):
        yield Fault("/config", "type", "must be an object")
    elif faults := json_faults(values["config"], "/config"):
        yield from faults
    elif kind in {"webhook", "event"}:
        yield from config_faults(cast("TriggerKind", kind), cast("Mapping[str, Any]", values["config"]), "/config")


def _cron_faults(expression: Any) -> Iterator[Fault]:
    if not isinstance(expression, str):
        yield Fault("/expression", "missing", "is required of a trigger of kind cron")
        return
    try:
        parse_cron(expression)
    except CronError as error:
        yield Fault("/expression", "cron", str(error))
