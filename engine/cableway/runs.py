"""
The one decision that makes a run: whoever hears an event calls it, and acknowledges the event after it.

The key is unique within the pipeline, so the same event heard twice makes one run. The parameters are
checked against the version that is active now, and the run is pinned to that version. What decides is a
single statement: run by itself it is a transaction, and inside a caller's own (a scheduler's tick) it
stands or falls with that. A caller's transaction must be READ COMMITTED, so that who lost a race sees the winner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cableway.errors import Fault, ParameterError, UnknownPipelineError
from cableway.parameters import checked_parameters, restored_parameters
from cableway.store.executor import AsyncExecutor, Row, Sender, Step, Steps, drive
from cableway.store.ids import new_id
from cableway.store.storable import storable_json, storable_text
from cableway.store.versions import check_number

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings

MAX_KEY_LENGTH = 512
"""Characters of a trigger's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run that somebody wants."""

    pipeline: str
    """Its active version is what runs."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """By name; defaults are filled in."""
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Parameters as a command line gives them, read by their types; they go before ``parameters``."""
    key: str | None = None
    """What makes two requests the same one, within the pipeline."""
    body_hash: str | None = None
    """Digest of a delivery's body; given, the delivery is recorded too, and a repetition is compared with it."""
    scheduler_name: str | None = None
    trigger_name: str | None = None
    scheduled_at: datetime | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    line: str | None = None
    """The line that the run goes on with; unset: a new one."""
    replay_of: str | None = None
    parent_run_id: str | None = None
    part: int | None = None
    parts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """The run that a request led to."""

    run_id: str
    created: bool
    """False: the key had made this run before."""
    same_body: bool = True
    """False: it had made it from another body, so this request is refused."""


def record_run(sender: Sender, request: RunRequest) -> RecordedRun:
    """Record the run that *request* asks for, or find the one that its key has made.

    Raise `UnknownPipelineError` or `ParameterError`: then nothing is recorded.
    """
    return drive(sender, _recording(request, sender.settings))


async def record_run_async(executor: AsyncExecutor, request: RunRequest) -> RecordedRun:
    """The same for a program with an event loop."""
    return await executor.drive(_recording(request, executor.settings))


def _recording(request: RunRequest, settings: DatabaseSettings) -> Steps[RecordedRun]:
    found = yield Step("active_version", {"pipeline": storable_text(request.pipeline)})
    if not found or found[0]["archived"]:
        names = yield Step("pipeline_names", {})
        raise _unknown_pipeline(request.pipeline, names, archived=bool(found))
    version = found[0]
    check_number(version["schema_number"], settings)
    definitions = restored_parameters(version["parameters"])
    parameters = checked_parameters(definitions, request.parameters, request.texts)
    values = _run_values(request, version, parameters)
    made = yield Step("insert_run", values)
    if made:
        return RecordedRun(run_id=made[0]["run_id"], created=True)
    # Sent again because the answer was lost, it meets the run that it made itself.
    before = (yield Step("run_before", values))[0]
    same = request.body_hash is None or before["body_hash"] == request.body_hash
    return RecordedRun(run_id=before["run_id"], created=before["run_id"] == values["run_id"], same_body=same)


def _run_values(request: RunRequest, version: Row, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": new_id(),
        "pipeline": request.pipeline,
        "version": version["version"],
        "parameters": storable_json(parameters),
        "key": _checked_key(request.key),
        "body_hash": request.body_hash,
        "line": request.line or new_id(),
        "lease_ttl_s": version["lease_ttl_s"],
        "parent_run_id": request.parent_run_id,
        "part": request.part,
        "parts": request.parts,
        "replay_of": request.replay_of,
        "scheduler_name": _text(request.scheduler_name),
        "trigger_name": _text(request.trigger_name),
        "scheduled_at": request.scheduled_at,
        "traceparent": _text(request.traceparent),
        "tracestate": _text(request.tracestate),
    }


def _checked_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key == storable_text(key)):
        message = f"must have 1 to {MAX_KEY_LENGTH} characters and no NUL"
        raise ParameterError(f"the run's key {message}", [Fault("/key", "invalid", message)])
    return key


def _text(text: str | None) -> str | None:
    return None if text is None else storable_text(text)


def _unknown_pipeline(name: str, names: list[Row], *, archived: bool) -> UnknownPipelineError:
    shown = storable_text(name)[:80]
    if archived:
        return UnknownPipelineError(f"the pipeline {shown!r} is archived")
    known = ", ".join(row["name"] for row in names) or "none yet"
    return UnknownPipelineError(f"no pipeline {shown!r}; there are: {known}. Store it first, or correct the name")
