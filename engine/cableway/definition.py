"""
What a pipeline is: the normalised form of a pipeline document.

These are plain dataclasses so that a job which runs a checked version never loads pydantic.
`cableway.checks` validates documents against the same classes (through pydantic) and lists
every fault; `PipelineDefinition.restore` takes what it produced and trusts it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

Lane = Literal["async", "thread", "process", "interpreter", "dask"]
OnError = Literal["fail_run", "dead_letter", "skip"]
Overlap = Literal["skip", "queue_one", "queue_all", "replace", "allow"]
TriggerKind = Literal["cron", "webhook", "event"]
HookAuth = Literal["standard", "github", "stripe", "slack", "hmac", "basic", "api_key", "none"]
ParameterType = Literal["string", "integer", "number", "boolean", "array", "object"]

JsonObject = dict[str, Any]

DOCUMENT_FORMAT = 2
"""Number of the normalised form; a version stored under another one is checked again before it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDefinition:
    """How often a failed unit is tried again, and how long it waits in between."""

    attempts: int = 1
    """Tries in all, the first included."""
    initial_s: float = 1.0
    """Seconds before the second try."""
    factor: float = 2.0
    """By how much the wait grows from try to try."""
    max_s: float = 60.0
    """The longest wait in seconds."""
    jitter: bool = True
    """Draw each wait at random between zero and its length."""
    retry_on: tuple[str, ...] = ()
    """Names of the exception classes to try again on; empty means all."""
    give_up_on: tuple[str, ...] = ()
    """Names of the exception classes that are final at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDefinition:
    """When waiting items become one: at the first limit reached, and at the end of the input."""

    count: int | None = None
    """Items in a batch."""
    size_bytes: int | None = None
    """Estimated bytes in a batch."""
    period_s: float | None = None
    """Seconds after the first item of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocDefinition:
    """A configured step: a bloc type with a name and a config."""

    name: str
    """Unique in its pipeline; other blocs name it as their input."""
    bloc_type: str
    """A name of the catalog, such as ``csv_loader``."""
    config: JsonObject = field(default_factory=dict[str, Any])
    """The bloc type's own settings."""
    lane: Lane | None = None
    """Where this bloc runs; unset: the stage's lane, else async for an async bloc and thread for a sync one."""
    inputs: tuple[str, ...] | None = None
    """Blocs whose data it reads; unset: its ``source_bloc``, else the blocs of the previous stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDefinition:
    """One position on the way: all its blocs work on each item side by side."""

    name: str
    """Unique in its pipeline."""
    blocs: tuple[BlocDefinition, ...]
    """At least one."""
    lane: Lane | None = None
    """Where the blocs run that do not say so themselves."""
    workers: int = 1
    """Items that this stage works on at once."""
    queue_size: int = 100
    """Items that may wait before this stage; when it is full the stage before it waits."""
    queue_bytes: int | None = None
    """Estimated bytes that may wait before this stage."""
    max_item_bytes: int | None = None
    """An item above this many bytes fails."""
    retry: RetryDefinition = RetryDefinition()
    """Further tries of a failed unit."""
    timeout_s: float | None = None
    """Seconds that one try of a unit may take."""
    queue_timeout_s: float | None = None
    """Seconds that an item may wait before this stage."""
    on_error: OnError = "dead_letter"
    """What becomes of an item that failed for good."""
    batch: BatchDefinition | None = None
    """Make one item of several before the blocs see them."""
    gather: bool = False
    """Fold all items into one before the blocs see it."""
    gather_bytes: int = 256 * 1024 * 1024
    """The most that a gather may hold, in estimated bytes."""
    ordered: bool = False
    """Items leave in the order in which they came."""
    rate_per_s: float | None = None
    """Units started each second at most."""
    limits: tuple[str, ...] = ()
    """Names of limits that all runs share; each try of an item takes its turn with them."""
    dask_address: str | None = None
    """The Dask cluster of a stage in the dask lane (``tcp://host:port``); unset: the run settings' own."""
    chunk: int | None = None
    """Items for each hop to a child; unset: by time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterDefinition:
    """A typed value that a run is given."""

    type: ParameterType = "string"
    """A JSON Schema type."""
    default: Any = None
    """Used when the run does not say; a parameter without one is required unless ``required`` is false."""
    required: bool = False
    """The run must give it."""
    description: str = ""
    """What it is for."""
    enum: tuple[Any, ...] | None = None
    """The values allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffDefinition:
    """How long a run waits before its next attempt: at random between half of it and all of it."""

    initial_s: float = 10.0
    """Seconds before the second attempt."""
    factor: float = 2.0
    """By how much the wait grows from attempt to attempt."""
    max_s: float = 600.0
    """The longest wait in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a run of this pipeline behaves as a whole."""

    timeout_s: float | None = None
    """Seconds that a run may take."""
    max_errors: int | str = 0
    """Failed items up to which the run still completes: a count, or a percentage such as ``1%``."""
    attempts: int = 1
    """Containers that may work on a run, one after the other, when an attempt fails in a way that may pass."""
    backoff: BackoffDefinition = BackoffDefinition()
    """The waits between attempts."""
    batch_size: int | None = None
    """Rows in an item, for the loader of the first stage when its config does not say."""
    output_dir: str | None = None
    """A folder for the run's files, below the one that the service gives it; unset: named after the pipeline."""
    concurrency: int = 1
    """Runs at work at a time, for each ``overlap_key``; under ``overlap: allow`` any number."""
    overlap: Overlap | None = None
    """What becomes of a run that is due while ``concurrency`` others are open; unset: a tick is skipped, all else
    waits for its turn."""
    overlap_key: str | None = None
    """A text with ``${param:NAME}``: runs for which it differs do not count together."""
    dask_address: str | None = None
    """The Dask cluster (``tcp://host:port``) of whatever runs in the dask lane."""
    grace_s: float = 25.0
    """Seconds to drain in after SIGTERM."""
    lease_ttl_s: float = 60.0
    """Seconds after its last heartbeat at which an attempt is taken for dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDefinition:
    """A secret that signs webhooks until a day."""

    secret: str
    """A reference (``env:NAME`` or ``secret:NAME``)."""
    expires: str | None = None
    """The instant from which it is refused, such as ``2027-01-31T00:00:00Z``; unset: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureDefinition:
    """How a sender with ``auth: hmac`` signs."""

    header: str
    """The header that holds the signature."""
    algorithm: Literal["sha256", "sha384", "sha512"] = "sha256"
    """The hash function of the HMAC."""
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    """How the signature is written."""
    prefix: str = ""
    """What stands before it in the header, such as ``sha256=``."""
    content: str = "{body}"
    """What is signed: ``{body}``, with ``{timestamp}`` before it where there is one, such as ``{timestamp}.{body}``."""
    timestamp_header: str | None = None
    """The header that holds the seconds since 1970; it must be part of ``content``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMatch:
    """Which cloud events an ``event`` trigger is for; all that is given must hold."""

    source: str | None = None
    """Such as ``aws.s3``."""
    detail_type: str | None = None
    """Such as ``Object Created``."""
    bucket: str | None = None
    """The bucket of an S3 object."""
    prefix: str | None = None
    """How the key of an S3 object begins."""
    suffix: str | None = None
    """How it ends."""
    queue: str | None = None
    """The name or the ARN of the SQS queue that it came through."""
    rule: str | None = None
    """The name or the ARN of the EventBridge rule or schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerDefinition:
    """What starts runs of the pipeline: a cron rule, a webhook or a cloud event."""

    kind: TriggerKind = "cron"
    """``cron`` needs an ``expression``; a ``webhook``'s address is the trigger's name; ``event`` has ``match``."""
    expression: str | None = None
    """Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday)."""
    timezone: str | None = None
    """The IANA name of the zone that a cron rule is read in; unset: UTC."""
    parameters: JsonObject = field(default_factory=dict[str, Any])
    """What every run is given. For a webhook or an event a text that begins with ``$`` is a path into what came."""
    secrets: tuple[str | SecretDefinition, ...] = ()
    """References (``env:NAME`` or ``secret:NAME``) to the secrets of which one must have signed a webhook."""
    auth: HookAuth = "standard"
    """How a webhook is known: ``standard`` is Standard Webhooks; ``none`` takes it from anybody, if the server does."""
    signature: SignatureDefinition | None = None
    """How a sender signs, for ``auth: hmac``."""
    header: str = "x-api-key"
    """The header that holds the secret, for ``auth: api_key``."""
    tolerance_s: float = 300.0
    """How far, in seconds, a webhook's own time may be from ours, either way."""
    key: str | None = None
    """Path to what makes two deliveries the same one, or ``digest`` (of the body); unset: as the sender has it."""
    remember_days: float = 30.0
    """Days for which the same key leads to the same run."""
    when: str | None = None
    """A condition such as ``$.ref == "refs/heads/main"``: where it does not hold nothing runs."""
    body_schema: JsonObject | None = None
    """A JSON Schema that the payload must fit."""
    form: bool | None = None
    """Whether a webhook may be an HTML form; unset: Slack's may."""
    rate_per_minute: float | None = None
    """Webhooks taken in a minute by each server; unset: any number."""
    record: Literal["none", "accepted", "all"] = "accepted"
    """Which deliveries are kept to be looked at and sent again; ``all`` keeps refused ones as well."""
    record_bytes: int = 65_536
    """Bytes of a body up to which it is kept with its delivery."""
    record_days: float = 7.0
    """Days for which deliveries are kept."""
    record_last: int = 1000
    """So many of a trigger's deliveries are kept at most."""
    match: EventMatch | None = None
    """Which cloud events an ``event`` trigger is for."""
    enabled: bool = True
    """Whether it starts runs at all."""

    def config(self) -> JsonObject:
        """What a trigger's row holds beside its kind and expression."""
        if self.kind == "cron":
            return {"timezone": self.timezone or "UTC", "parameters": self.parameters}
        written = cast("JsonObject", json.loads(json.dumps(asdict(self))))
        usual = {entry.name: entry.default for entry in fields(self)}
        kept = {"secrets"} if self.kind == "webhook" else set[str]()
        aside = {"kind", "expression", "timezone", "enabled"}
        return {
            name: value
            for name, value in written.items()
            if name not in aside and (name in kept or value not in (usual[name], {}, []))
        }

    @classmethod
    def of_row(cls, kind: TriggerKind, config: Mapping[str, Any]) -> TriggerDefinition:
        """Take back what `config` gave for a webhook or an event. Raise `TypeError` or `KeyError` where it did not."""
        values = dict(config)
        values["secrets"] = tuple(
            secret if isinstance(secret, str) else SecretDefinition(**secret) for secret in values.get("secrets", ())
        )
        if values.get("signature") is not None:
            values["signature"] = SignatureDefinition(**values["signature"])
        if values.get("match") is not None:
            values["match"] = EventMatch(**values["match"])
        return cls(kind=kind, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDefinition:
    """A named, ordered list of stages. The first one reads, the last one writes."""

    name: str
    """Unique among the pipelines of a database."""
    stages: tuple[StageDefinition, ...]
    """At least one."""
    parameters: dict[str, ParameterDefinition] = field(default_factory=dict[str, ParameterDefinition])
    """What a run may or must be given, by name."""
    settings: RunSettings = RunSettings()
    """How a run behaves as a whole."""
    description: str = ""
    """What it is for."""
    triggers: dict[str, TriggerDefinition] = field(default_factory=dict[str, TriggerDefinition])
    """What starts runs of it, by name. They are rows of their own beside the versions, and part of none."""
    secrets: tuple[str, ...] = ()
    """The secrets that its configs may refer to (``${secret:NAME}``)."""
    env: tuple[str, ...] = ()
    """The environment variables that its configs may refer to (``${env:NAME}``); never one of ``DATABASE_*``."""

    def document(self, *, triggers: bool = False) -> JsonObject:
        """What a version holds, as JSON values with every default written out; `restore` takes it back.

        With *triggers* these stand in it as well.
        """
        document = cast("JsonObject", json.loads(json.dumps(asdict(self))))
        if not triggers:
            del document["triggers"]
        return document

    def content_hash(self) -> str:
        """SHA-256 of the canonical document, in hex: equal for definitions that say the same."""
        import hashlib  # OpenSSL loads with it, and a job that runs a stored version never asks

        canonical = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> PipelineDefinition:
        """Take back what `document` gave. Trusts it: a document from elsewhere goes through `cableway.checks`."""
        return cls(
            name=document["name"],
            stages=tuple(_stage(stage) for stage in document["stages"]),
            parameters={name: _parameter(value) for name, value in document["parameters"].items()},
            settings=_settings(document["settings"]),
            description=document["description"],
            secrets=tuple(document.get("secrets", ())),
            env=tuple(document.get("env", ())),
        )


def _stage(document: Mapping[str, Any]) -> StageDefinition:
    fields = dict(document)
    fields["blocs"] = tuple(_bloc(bloc) for bloc in fields["blocs"])
    retry = dict(fields["retry"])
    retry["retry_on"], retry["give_up_on"] = tuple(retry["retry_on"]), tuple(retry["give_up_on"])
    fields["retry"] = RetryDefinition(**retry)
    fields["limits"] = tuple(fields.get("limits", ()))
    if fields["batch"] is not None:
        fields["batch"] = BatchDefinition(**fields["batch"])
    return StageDefinition(**fields)


def _bloc(document: Mapping[str, Any]) -> BlocDefinition:
    fields = dict(document)
    if fields["inputs"] is not None:
        fields["inputs"] = tuple(fields["inputs"])
    return BlocDefinition(**fields)


def _settings(document: Mapping[str, Any]) -> RunSettings:
    fields = dict(document)
    # A version that was stored before there was a back-off is read as well.
    fields["backoff"] = BackoffDefinition(**fields.get("backoff", {}))
    return RunSettings(**fields)


def _parameter(document: Mapping[str, Any]) -> ParameterDefinition:
    fields = dict(document)
    if fields["enum"] is not None:
        fields["enum"] = tuple(fields["enum"])
    return ParameterDefinition(**fields)
