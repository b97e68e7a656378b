"""
How wishes for runs become runs: many at once, set by set, whatever their pipelines are.

The number of round trips does not depend on how many there are: one for the versions, one that decides and
inserts, and another one only where keys have made runs before, or where parameters do not fit. What decides
stands in a single statement under a lock for each pipeline whose policy looks at its other runs. Run by itself it is
a transaction, committed durably; in a caller's own it stands or falls with that, and that one must be READ
COMMITTED, record once, and has its locks until it ends.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from cableway.errors import CablewayError, Fault, ParameterError, UnknownPipelineError
from cableway.parameters import checked_parameters, restored_parameters
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import new_id
from cableway.store.storable import storable_json, storable_text
from cableway.store.versions import check_number

if TYPE_CHECKING:
    from cableway.definition import Overlap, ParameterDefinition
    from cableway.settings import DatabaseSettings

_LOOKS_AT_OTHERS = frozenset({"skip", "queue_one", "replace"})

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
    overlap: Overlap | None = None
    """Goes before the pipeline's policy. Where neither says: ``skip`` for a tick, ``queue_all`` for all others."""
    scheduler_name: str | None = None
    trigger_name: str | None = None
    scheduled_at: datetime | None = None
    """The instant of a tick, which makes the request one of a scheduler."""
    not_before: datetime | None = None
    """The run is not launched before this instant."""
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


@dataclass(frozen=True, slots=True)
class NotRun:
    """No run was made, as the pipeline's policy wants it."""

    reason: Literal["overlap"]


@dataclass(frozen=True, slots=True)
class Refused:
    """No run can come of the request: an `UnknownPipelineError`, a `ParameterError`, or what its key's text lacks."""

    error: CablewayError


Decision = RecordedRun | NotRun | Refused
"""What became of a request."""


class _Version:
    """What new runs of a pipeline are pinned to."""

    def __init__(self, number: int, parameters: str, settings: str) -> None:
        self.number = number
        self.settings: Mapping[str, Any] = json.loads(settings)
        self._parameters: Mapping[str, Any] = json.loads(parameters)
        self._definitions: dict[str, ParameterDefinition] | None = None
        self._defaults: dict[str, Any] | None = None
        self.facts = facts_of(self.number, self.settings)
        """What a run's row keeps of it."""

    def parameters(self, request: RunRequest) -> dict[str, Any]:
        """Those of *request*, with defaults. Raise `ParameterError`."""
        if self._definitions is None:
            self._definitions = restored_parameters(self._parameters)
        if request.parameters or request.texts:
            return checked_parameters(self._definitions, request.parameters, request.texts)
        if self._defaults is None:
            self._defaults = checked_parameters(self._definitions, {})
        return self._defaults

    def overlap(self, request: RunRequest) -> Overlap:
        """The policy that *request* is recorded under: its own, the pipeline's, or what fits its trigger."""
        by_trigger: Overlap = "queue_all" if request.scheduled_at is None else "skip"
        return request.overlap or self.settings.get("overlap") or by_trigger

    def overlap_key(self, parameters: Mapping[str, Any]) -> str:
        """The pipeline's key, with *parameters* written in."""
        template = self.settings.get("overlap_key")
        if template is None:
            return ""
        from cableway.references import Referable, resolve  # few pipelines have one

        return storable_text(str(resolve(template, Referable(parameters=parameters), "/settings/overlap_key")))


def facts_of(number: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's row keeps of version *number* with these *settings*."""
    backoff: Mapping[str, Any] = settings.get("backoff") or {}
    return {
        "version": number,
        "lease_ttl_s": settings["lease_ttl_s"],
        "concurrency": settings.get("concurrency", 1),
        "max_attempts": settings.get("attempts", 1),
        "backoff_initial_s": backoff.get("initial_s", 10.0),
        "backoff_factor": backoff.get("factor", 2.0),
        "backoff_max_s": backoff.get("max_s", 600.0),
        "timeout_s": settings.get("timeout_s"),
        "grace_s": settings.get("grace_s", 25.0),
    }


_version = lru_cache(maxsize=256)(_Version)  # the same pipelines are asked for again and again


def recording(requests: Sequence[RunRequest], settings: DatabaseSettings | None) -> Steps[list[Decision]]:
    """What became of each request, in their order; see `cableway.runs.record_many`.

    Without *settings* the schema's version is not checked, because the caller has done so.
    """
    if not requests:
        return []
    versions, unknown = yield from _versions(requests, settings)
    found = _Found()
    wishes: list[dict[str, Any]] = []
    for number, request in enumerate(requests):
        version = versions.get(request.pipeline)
        if version is None:
            found.refuse(number, unknown[request.pipeline])
        elif not found.is_repeated(number, request):
            try:
                wishes.append(_wish(number, request, version))
            except CablewayError as error:
                found.refuse(number, error)
    if wishes:
        yield from _recorded(wishes, versions, found)
    left = found.without_run(requests, wishes)
    if left:
        found.take(wishes, (yield Step("runs_of_keys", {"wishes": storable_json(left)})))
    return [found.decision(number, request) for number, request in enumerate(requests)]


class _Found:
    """What is known of each request by its number; one that repeats a key in the same group shares the first one's."""

    def __init__(self) -> None:
        self._decisions: dict[int, Decision] = {}
        self._bodies: dict[int, str | None] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._repeats: dict[int, int] = {}

    def refuse(self, number: int, error: CablewayError) -> None:
        self._decisions[number] = Refused(error)

    def is_repeated(self, number: int, request: RunRequest) -> bool:
        """Whether another one of the group has this key; then that one is asked for."""
        if request.key is None:
            return False
        first = self._first.setdefault((request.pipeline, request.key), number)
        # Where the first one cannot be recorded, the next may be.
        if first == number or isinstance(self._decisions.get(first), Refused):
            self._first[request.pipeline, request.key] = number
            return False
        self._repeats[number] = first
        return True

    def take(self, wishes: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> None:
        """Learn from the database's answer."""
        self.take_made(wishes, {row["run_id"] for row in rows if row.get("outcome") == "made"})
        for row in rows:
            match row.get("outcome", "known"):
                case "known":
                    self._decisions[row["n"]] = RecordedRun(run_id=row["run_id"], created=False)
                    self._bodies[row["n"]] = row["body_hash"]
                case "unwanted":
                    self._decisions[row["n"]] = NotRun("overlap")
                case _:
                    pass

    def take_made(self, wishes: Sequence[Mapping[str, Any]], run_ids: Container[str]) -> None:
        """Learn that these runs were made now."""
        for wish in wishes:
            if wish["run_id"] in run_ids:
                self._decisions[wish["n"]] = RecordedRun(run_id=wish["run_id"], created=True)
                self._bodies[wish["n"]] = wish.get("body_hash")

    def without_run(self, requests: Sequence[RunRequest], wishes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What is known of the requests of which it is not known whether they or their keys have made a run."""
        run_ids = {wish["n"]: wish["run_id"] for wish in wishes}
        return [
            {"n": number, "run_id": run_ids.get(number), "pipeline": request.pipeline, "key": request.key}
            for number, request in enumerate(requests)
            if number not in self._repeats
            and not isinstance(self._decisions.get(number), RecordedRun | NotRun)
            and (number in run_ids or request.key)
            and _is_storable(request.pipeline + (request.key or ""))
        ]

    def decision(self, number: int, request: RunRequest) -> Decision:
        """What became of *request*."""
        first = self._repeats.get(number, number)
        decision = self._decisions[first]
        if not isinstance(decision, RecordedRun) or (decision.created and first == number):
            return decision
        same = request.body_hash is None or request.body_hash == self._bodies[first]
        return RecordedRun(run_id=decision.run_id, created=False, same_body=same)


def _versions(
    requests: Sequence[RunRequest], settings: DatabaseSettings | None
) -> Steps[tuple[dict[str, _Version], dict[str, UnknownPipelineError]]]:
    names = {request.pipeline: storable_text(request.pipeline) for request in requests}
    rows = yield Step("active_versions", {"pipelines": [name for name, text in names.items() if name == text]})
    if rows and settings is not None:
        check_number(rows[0]["schema_number"], settings)
    versions = {
        row["pipeline"]: _version(row["version"], row["parameters"], row["settings"])
        for row in rows
        if not row["archived"]
    }
    missing = names.keys() - versions.keys()
    if not missing:
        return versions, {}
    archived = {row["pipeline"] for row in rows if row["archived"]}
    known = ", ".join(row["name"] for row in (yield Step("pipeline_names", {}))) or "none yet"
    return versions, {name: _unknown_pipeline(name, known, archived=name in archived) for name in missing}


def _recorded(wishes: Sequence[Mapping[str, Any]], versions: Mapping[str, _Version], found: _Found) -> Steps[None]:
    """Send the wishes, and have *found* learn what became of them."""
    facts = {wish["pipeline"]: versions[wish["pipeline"]].facts for wish in wishes}
    careful = sorted({wish["pipeline"] for wish in wishes if wish["overlap"] in _LOOKS_AT_OTHERS})
    if careful:
        told = storable_json([{**wish, **facts[wish["pipeline"]]} for wish in wishes])
        before = (Step("commit_durably", {}), Step("lock_overlaps", {"pipelines": careful}))
        found.take(wishes, (yield Step("record_runs", {"wishes": told}, before)))
        return
    known = storable_json([{"pipeline": name, **each} for name, each in facts.items()])
    rows = yield Step("record_plain_runs", {"wishes": storable_json(wishes), "facts": known})
    found.take_made(wishes, set(rows[0]["run_ids"] or ()))


_TOLD = (
    "body_hash",
    "parent_run_id",
    "part",
    "parts",
    "replay_of",
    "scheduler_name",
    "trigger_name",
    "traceparent",
    "tracestate",
)


def _wish(number: int, request: RunRequest, version: _Version) -> dict[str, Any]:
    parameters = version.parameters(request)
    wish: dict[str, Any] = {
        "n": number,
        "run_id": new_id(),
        "pipeline": request.pipeline,
        "parameters": parameters,
        "key": _checked_key(request.key),
        "line": request.line or new_id(),
        "overlap": version.overlap(request),
        "overlap_key": version.overlap_key(parameters),
    }
    # What says nothing of a run is null there.
    for name in _TOLD:
        value = getattr(request, name)
        if value is not None:
            wish[name] = value
    if request.scheduled_at is not None:
        wish["scheduled_at"] = request.scheduled_at.isoformat()
    if request.not_before is not None:
        wish["not_before"] = request.not_before.isoformat()
    return wish


def _is_storable(text: str) -> bool:
    return storable_text(text) == text


def _checked_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key == storable_text(key)):
        message = f"must have 1 to {MAX_KEY_LENGTH} characters and no NUL"
        raise ParameterError(f"the run's key {message}", [Fault("/key", "invalid", message)])
    return key


def _unknown_pipeline(name: str, known: str, *, archived: bool) -> UnknownPipelineError:
    shown = storable_text(name)[:80]
    if archived:
        return UnknownPipelineError(f"the pipeline {shown!r} is archived")
    return UnknownPipelineError(
        f"no pipeline {shown!r}; there are: {known}. Store it with `cableway apply FILE`, or correct the name"
    )
