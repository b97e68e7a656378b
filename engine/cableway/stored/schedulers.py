"""Schedulers: what ties a cron trigger to a pipeline, with the policies for its ticks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, get_args

from cableway.definitions.cron_grammar import zone_fault
from cableway.errors import Fault
from cableway.store.executor import Step, Steps
from cableway.store.reading import Catchup, DstGap, Overlap, SchedulerRow, read_schedulers, read_triggers
from cableway.stored.names import check_revision, json_faults, json_text, name_faults, only, refuse, taken, titled
from cableway.stored.ticks import decide_before_change

DEFAULTS: Mapping[str, Any] = {
    "parameters": {},
    "timezone": "UTC",
    "dst_gap": "run",
    "catchup": "latest",
    "catchup_window_s": 3600.0,
    "max_catchup_runs": 10,
    "overlap": None,
    "jitter_s": 0.0,
    "starts_at": None,
    "ends_at": None,
    "paused": False,
    "pause_note": "",
    "pause_after_failures": None,
}
"""The policies of a scheduler that says nothing of them."""

_KEYS = ("name", "pipeline", "trigger_name", *DEFAULTS)
_MAY_BE_NONE = frozenset({"overlap", "starts_at", "ends_at", "pause_after_failures"})
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "dst_gap": get_args(DstGap),
    "catchup": get_args(Catchup),
    "overlap": get_args(Overlap),
}
_DAY_S = 86_400
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "catchup_window_s": (0, 366 * _DAY_S),
    "max_catchup_runs": (1, 100),
    "jitter_s": (0, _DAY_S),
    "pause_after_failures": (1, 1_000_000),
}
_WHOLE = frozenset({"max_catchup_runs", "pause_after_failures"})


def create(name: str, pipeline: str, trigger: str, policies: Mapping[str, Any]) -> Steps[SchedulerRow]:
    """Store a new scheduler. Raise `DefinitionError` with every fault, `TakenError` where the name is another's."""
    yield Step("lock_triggers", {})
    values = {"name": name, "pipeline": pipeline, "trigger_name": trigger, **DEFAULTS, **policies}
    yield from _judge(values)
    made = yield Step("insert_scheduler", _stored({**values, "from_document": False}))
    if not made:
        raise taken("scheduler", name)
    return only("scheduler", name, (yield from read_schedulers(name)))


def update(name: str, changes: Mapping[str, Any], *, expected_revision: int | None) -> Steps[SchedulerRow]:
    """Make *changes*.

    Raise `UnknownNameError`, `ConflictError`, or `DefinitionError` with every fault: then nothing has changed.
    """
    yield Step("lock_triggers", {})
    before = only("scheduler", name, (yield from read_schedulers(name)))
    check_revision("scheduler", before, expected_revision)
    values = {**_values(before), **changes}
    yield from _judge(values)
    if values == _values(before):
        return before
    yield from _put(before, values)
    return only("scheduler", name, (yield from read_schedulers(name)))


def delete(name: str, *, expected_revision: int | None) -> Steps[None]:
    """Delete the scheduler; what it has run stays. Raise `UnknownNameError` or `ConflictError`."""
    yield Step("lock_triggers", {})
    before = only("scheduler", name, (yield from read_schedulers(name)))
    check_revision("scheduler", before, expected_revision)
    yield from decide_before_change([name])
    yield Step("delete_scheduler", {"name": name})


def follow_trigger(name: str, pipeline: str, timezone: str, parameters: Mapping[str, Any]) -> Steps[None]:
    """The scheduler of a document's cron trigger, made where it is missing; policies that somebody has set stay.

    Raise `TakenError` where somebody else made one of this name.
    """
    own = {"pipeline": pipeline, "trigger_name": name, "timezone": timezone, "parameters": dict(parameters)}
    rows = yield from read_schedulers(name)
    if not rows:
        yield Step("insert_scheduler", _stored({**DEFAULTS, **own, "name": name, "from_document": True}))
    elif not rows[0].from_document:
        raise taken("scheduler", name)
    else:
        before = _values(rows[0])
        if {**before, **own} != before:
            yield from _put(rows[0], {**before, **own})


def drop_of_document(name: str) -> Steps[None]:
    """Delete the scheduler that a document's trigger had."""
    for row in (yield from read_schedulers(name)):
        if row.from_document:
            yield from decide_before_change([name])
            yield Step("delete_scheduler", {"name": name})


def pause(name: str, note: str = "") -> Steps[SchedulerRow]:
    """Let it start no more runs until it is resumed; *note* says why. Raise `UnknownNameError` or `DefinitionError`."""
    return (yield from update(name, {"paused": True, "pause_note": note}, expected_revision=None))


def resume(name: str) -> Steps[SchedulerRow]:
    """Let it go on with its next tick; those in between stay without runs. Raise `UnknownNameError`."""
    return (yield from update(name, {"paused": False, "pause_note": ""}, expected_revision=None))


def _put(before: SchedulerRow, values: Mapping[str, Any]) -> Steps[None]:
    yield from decide_before_change([before.name])
    yield Step("update_scheduler", _stored(values))
    if before.paused and not values["paused"]:
        yield Step("count_failures_anew", {"name": before.name})


def _judge(values: Mapping[str, Any]) -> Steps[None]:
    what = titled("scheduler", values["name"])
    faults = list(_faults(values))
    refuse(what, faults)
    triggers = yield from read_triggers(values["trigger_name"])
    if not any(row.name == values["trigger_name"] for row in triggers):
        faults.append(Fault("/trigger", "unknown_trigger", f"no {titled('trigger', values['trigger_name'])}"))
    elif triggers[0].kind != "cron":
        faults.append(Fault("/trigger", "trigger", f"is of kind {triggers[0].kind}, and a scheduler needs a cron rule"))
    refuse(what, faults)


def _faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    for key in values.keys() - set(_KEYS):
        yield Fault(f"/{key}", "unexpected", f"is not known here; a scheduler has {', '.join(DEFAULTS)}")
    for key, pointer in (("name", "/name"), ("pipeline", "/pipeline"), ("trigger_name", "/trigger")):
        yield from name_faults(values[key], pointer)
    for key in DEFAULTS:
        value = values[key]
        if value is None and key in _MAY_BE_NONE:
            continue
        if message := _policy_fault(key, value):
            yield Fault(f"/{key}", "invalid", message)
    if isinstance(values["parameters"], Mapping):
        yield from json_faults(values["parameters"], "/parameters")
    yield from _span_faults(values["starts_at"], values["ends_at"])


def _policy_fault(key: str, value: Any) -> str | None:
    """What is wrong with one policy, where something is."""
    if key in _CHOICES:
        return None if value in _CHOICES[key] else f"must be one of {', '.join(_CHOICES[key])}"
    if key in _NUMBERS:
        least, most = _NUMBERS[key]
        kinds = int if key in _WHOLE else int | float
        fits = isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most
        return None if fits else f"must be a {'whole ' if key in _WHOLE else ''}number from {least:g} to {most:g}"
    match key:
        case "timezone":
            return zone_fault(value) if isinstance(value, str) else "must be a text"
        case "parameters":
            return None if isinstance(value, Mapping) else "must be an object"
        case "paused":
            return None if isinstance(value, bool) else "must be true or false"
        case "pause_note":
            fits = isinstance(value, str) and len(value) <= 1000 and not json_faults(value, "")
            return None if fits else "must be a text of at most 1000 characters, without NUL"
        case _:
            fits = isinstance(value, datetime) and value.tzinfo is not None and 1971 <= value.year <= 9997
            return None if fits else "must be a time with its offset from UTC, in the years from 1971 to 9997"


def _span_faults(starts_at: Any, ends_at: Any) -> Iterator[Fault]:
    if isinstance(starts_at, datetime) and isinstance(ends_at, datetime):
        comparable = (starts_at.tzinfo is None) == (ends_at.tzinfo is None)
        if comparable and ends_at <= starts_at:
            yield Fault("/ends_at", "invalid", "must be after starts_at")


def _values(row: SchedulerRow) -> dict[str, Any]:
    return {key: getattr(row, key) for key in _KEYS}


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "parameters": json_text(values["parameters"])}
