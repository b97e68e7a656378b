"""Cloud events made into runs: which triggers each is for, and one run for each of them, however often it comes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cableway.definition import EventMatch, TriggerDefinition
from cableway.definitions.expressions import Scene
from cableway.errors import CablewayError, OverlapError, SettingsError
from cableway.runs import Decision, NotRun, RecordedRun, Refused, RunRequest, record_many
from cableway.store.executor import Sender
from cableway_handlers.api.hooks.hook import Hook, make_hook
from cableway_handlers.events.cloud import CloudEvent

_log = logging.getLogger("cableway.events")


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """A trigger for cloud events, its expressions parsed."""

    name: str
    pipeline: str
    match: EventMatch
    hook: Hook

    def fits(self, event: CloudEvent) -> bool:
        """Whether *event* is one of those that it is for."""
        match = self.match
        name = event.object_key
        return (
            (match.source is None or match.source == event.source)
            and (match.detail_type is None or match.detail_type == event.detail_type)
            and (match.bucket is None or match.bucket == event.bucket)
            and (match.prefix is None or (name is not None and name.startswith(match.prefix)))
            and (match.suffix is None or (name is not None and name.endswith(match.suffix)))
            and (match.queue is None or _names(match.queue, event.queue or "", ":"))
            and (match.rule is None or any(_names(match.rule, rule, "/") for rule in event.rules))
        )

    def request(self, event: CloudEvent) -> RunRequest | None:
        """The run that it asks for; None where its condition does not hold. Raise what the payload lacks."""
        scene = Scene(event.payload, {})
        if self.hook.when is not None and not self.hook.when(scene):
            return None
        mapped = self.hook.mapped(scene) if self.hook.mapping else None
        return RunRequest(
            pipeline=self.pipeline,
            parameters={} if mapped is None else mapped.parameters,
            key=f"event:{self.name}:{self._key(event, scene)}",
            body_hash=hashlib.sha256(json.dumps(event.payload, sort_keys=True).encode()).hexdigest()
            if self.hook.key is not None
            else None,
            trigger_name=self.name,
        )

    def _key(self, event: CloudEvent, scene: Scene) -> str:
        found = None if self.hook.key is None else self.hook.key.find(scene)
        return str(found) if isinstance(found, str | int) and 0 < len(str(found)) <= 255 else event.key


@dataclass(slots=True)
class Told:
    """What became of an event."""

    runs: list[str] = field(default_factory=list[str])
    """Runs that were made, now or by an earlier delivery of the same event."""
    errors: list[CablewayError] = field(default_factory=list[CablewayError])
    new: int = 0
    filtered: int = 0
    unknown: int = 0
    """1: no trigger is for it."""

    def as_dict(self) -> dict[str, object]:
        """As it is answered."""
        return {
            "runs": self.runs,
            "new": self.new,
            "filtered": self.filtered,
            "unknown": self.unknown,
            "errors": [error.problem() for error in self.errors],
        }


def event_triggers(sender: Sender) -> list[EventTrigger]:
    """Every trigger for cloud events that is switched on. One that cannot be read is logged and left out."""
    found: list[EventTrigger] = []
    for row in sender.rows("event_triggers"):
        try:
            found.append(make_trigger(row["name"], row["pipeline"], json.loads(row["config"])))
        except SettingsError as error:
            _log.error("%s", error)
    return found


def make_trigger(name: str, pipeline: str, config: Mapping[str, object]) -> EventTrigger:
    """The trigger of a stored row. Raise `SettingsError` where its config is none."""
    try:
        match = TriggerDefinition.of_row("event", config).match
    except (TypeError, KeyError, ValueError, AttributeError):
        match = None
    if match is None:
        raise SettingsError(f"the config of trigger {name!r} is none of a cloud event's")
    return EventTrigger(name, pipeline, match, make_hook(name, pipeline, config, "event"))


def record_events(sender: Sender, triggers: Sequence[EventTrigger], events: Sequence[CloudEvent]) -> list[Told]:
    """Record the runs of *events* in one transaction, and say of each, in their order, what became of it."""
    told = [Told() for _ in events]
    asked: list[tuple[Told, RunRequest]] = []
    for event, each in zip(events, told, strict=True):
        fitting = [trigger for trigger in triggers if trigger.fits(event)]
        each.unknown += not fitting
        for trigger in fitting:
            try:
                request = trigger.request(event)
            except CablewayError as error:
                each.errors.append(error)
                continue
            if request is None:
                each.filtered += 1
            else:
                asked.append((each, request))
    decisions = record_many(sender, [request for _, request in asked])
    for (each, _), decision in zip(asked, decisions, strict=True):
        _take(each, decision)
    return told


def _take(told: Told, decision: Decision) -> None:
    match decision:
        case RecordedRun():
            told.runs.append(decision.run_id)
            told.new += decision.created
        case NotRun():
            told.errors.append(OverlapError("The pipeline has as many runs open as it may have."))
        case Refused(error):
            told.errors.append(error)


def _names(wanted: str, arn: str, separator: str) -> bool:
    """Whether *wanted* is *arn*, or the name at its end."""
    return wanted in {arn, arn.rpartition(separator)[2]}
