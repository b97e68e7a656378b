"""
The job's port to where runs are kept: load, claim, beat, checkpoint, dead letters, spans, finish.

Two stores implement it, Postgres and memory, and pass one contract suite. All methods block (the
job calls them before the flow starts, after it has ended, or from a thread). Every write carries the
lease's token and changes nothing when that is stale; it then raises `LeaseLostError`.
Where Postgres is away each raises `UnavailableError`; refused credentials raise `CredentialsError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from cableway.definition import JsonObject
from cableway.errors import EXIT_BUG


class RunState(StrEnum):
    """Where a run stands. The last seven are final for an attempt; `ENDED` says which are final for the run."""

    QUEUED = "queued"
    LAUNCHING = "launching"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"


ENDED = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.COMPLETED_WITH_ERRORS,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.TIMED_OUT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a run works on again."""

    of: str
    """The run that it replays."""
    stage: str
    """Where it begins."""
    whole: bool = False
    """It reads the whole source again; exporters before ``stage`` write nothing. Else its source are dead letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOf:
    """Which share of another run's work a run does."""

    number: int
    """From 1 on."""
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run with the version that it is pinned to. ``document`` is the normalised definition."""

    run_id: str
    pipeline: str
    version: int
    version_hash: str
    document: JsonObject
    document_format: int
    state: RunState
    parameters: Mapping[str, Any]
    line: str
    key: str | None = None
    attempt: int = 0
    scheduler_name: str | None = None
    trigger_name: str | None = None
    scheduled_at: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    trace_id: str | None = None
    cursor: JsonObject | None = None
    replay: Replay | None = None
    part: PartOf | None = None
    time_left_s: float | None = None
    """Seconds until its timeout, which counts from its first attempt on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on a run: valid while it is beaten within ``ttl_s``, by the database's clock."""

    run_id: str
    attempt: int
    token: int
    ttl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The run is ours."""

    lease: Lease
    run: RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Another live attempt holds the run; its lease runs out in ``expires_in_s`` unless it beats."""

    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Nobody works on the run, and it may not begin yet: others of its pipeline have all places, or hold its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The run had already ended."""

    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenLine:
    """The line of a cursor, which the run is on from now on, with how far its source was worked off."""

    line: str
    cursor: JsonObject
    run_id: str
    """The run that is on it; of a part, the whole that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What one stage, or one of its blocs where it has several, did in an attempt. Times are summed over its items."""

    stage: str
    bloc: str | None
    lane: str
    items: int
    rows: int
    failed: int
    skipped: int
    retries: int
    work_s: float
    wait_s: float
    blocked_s: float
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A unit that failed for good. ``payload`` is JSON; ``stack`` has no locals.

    ``payload_at`` says where a payload is that was too large, ``shape`` and ``frames`` how it is to be read.
    """

    item_id: str
    stage: str
    bloc: str
    error_type: str
    message: str
    stack: str | None = None
    attempts: int = 1
    payload: Any = None
    payload_bytes: int = 0
    payload_at: str | None = None
    shape: Literal["data", "row"] = "data"
    frames: JsonObject | None = None
    trace_id: str | None = None
    span_id: str | None = None
    overflow: Callable[[], tuple[str | None, JsonObject | None]] | None = field(default=None, repr=False, compare=False)
    """Makes text and frames of a payload that was too large, until it is kept elsewhere."""


class DeadUnit(NamedTuple):
    """A unit that failed for good, as its dead letter has it."""

    stage: str
    bloc: str
    item_id: str
    resolved: bool = False
    """A replay has brought it through."""
    own: bool = True
    """It failed in this run, and not in another one on its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedItem:
    """An item that a replay works on again, out of the dead letter of its first unit that failed."""

    letter_id: int
    item_id: str
    bloc: str
    shape: Literal["data", "row"]
    payload: Any
    payload_at: str | None
    frames: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """A finished span as it is kept locally. Times are Unix nanoseconds; ids are hex."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    attributes: JsonObject
    events: Sequence[JsonObject] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How an attempt ended. ``counts`` has emitted and one number per outcome, ``problem`` is RFC 9457."""

    state: RunState
    exit_code: int
    counts: Mapping[str, int]
    rows_in: int = 0
    rows_out: int = 0
    stages: Sequence[StageRecord] = ()
    problem: JsonObject | None = None
    spans_dropped: int = 0
    trace_id: str | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    profile: JsonObject | None = None
    """What `cableway.explaining` replays: how long workers were busy at a time, by stage."""

    @property
    def may_pass(self) -> bool:
        """Whether another attempt could end otherwise, so that the run's policy may have one made."""
        if self.state not in {RunState.FAILED, RunState.CRASHED}:
            return self.state is RunState.INTERRUPTED
        return self.exit_code == EXIT_BUG or bool(self.problem and self.problem.get("retryable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat brought back."""

    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What a run has of a limit that all runs share."""

    slots: int
    """Units that it may have at work at a time."""
    starts: int | None
    """Further units that may begin; None: any number."""
    next_start_s: float = 0.0
    """Seconds until one more may begin."""
    per_s: float = 0.0
    """Units a second that all runs may begin together."""


class RunStore(Protocol):
    """Where the job reads its run and writes what becomes of it."""

    def claim(
        self, run_id: str, *, trace_id: str | None = None, external_id: str | None = None
    ) -> Claimed | Held | Full | Ended:
        """Take the run's lease if it is free or has run out. Raise `UnknownRunError` when there is no such run."""
        ...

    def hand_back(self, run_id: str) -> None:
        """Let a run that was launched and is `Full` wait for its turn again."""
        ...

    def hear(self, lease: Lease, stopped: int, timeout_s: float) -> None:
        """Return when somebody asks for the end of the run, if that can be heard; else after *timeout_s* seconds.

        At once when the descriptor *stopped* can be read. What was asked for, `beat` says.
        """
        ...

    def draw(self, lease: Lease, limit: str, *, slots: int, in_use: int, starts: int) -> Drawn:
        """Take up to *slots* places and *starts* starts of a limit; with fewer slots than before give some back.

        *in_use* of the places are kept whatever others want. Raise `UnknownNameError` where there is no such limit.
        """
        ...

    def beat(self, lease: Lease) -> Beat:
        """Renew the lease by its ttl, by the database's clock."""
        ...

    def take_line(self, lease: Lease, loader: str) -> TakenLine | Held:
        """Put the run, or the whole that it is a part of, on the line of its pipeline's *loader*, made where missing.

        `Held` while another run with a live lease is on it, or one whose parts have not all ended: for 0 s where
        nobody is at work on any of those.
        """
        ...

    def take_share(
        self, lease: Lease, shares: Sequence[JsonObject] | None = None, cursor: JsonObject | None = None
    ) -> JsonObject | None:
        """What the run, a part, is to load; None: that is not planned yet.

        *shares* are a plan for all parts. It is kept for them unless another part was before with its own. *cursor*
        is what stands at the whole's cursor from then on; None: it keeps none.
        """
        ...

    def part_cursors(self, lease: Lease) -> Sequence[JsonObject]:
        """How far each part of the run's whole is; empty where nothing is known yet."""
        ...

    def close_whole(self, lease: Lease, done: JsonObject) -> None:
        """Move the cursor of the run's whole by *done*, unless it has gone on since."""
        ...

    def whole_line(self, lease: Lease) -> str:
        """The line of the run that this one is a part of."""
        ...

    def dead_units(self, lease: Lease, prefix: str) -> set[DeadUnit]:
        """What has a dead letter on the run's line and whose item begins with *prefix*.

        Without those that the run works on again; for a replay its own alone.
        """
        ...

    def take_letters(self, lease: Lease, *, own: bool) -> None:
        """Work again on what was to be replayed and is open by now; *own*: on all that failed in this run too."""
        ...

    def replayed_items(self, lease: Lease, after: int, limit: int) -> Sequence[ReplayedItem]:
        """The items that this run works on again whose letters come *after* one, in their order."""
        ...

    def checkpoint(self, lease: Lease, cursor: JsonObject) -> None:
        """Keep how far the source of the run's line has been worked off."""
        ...

    def add_dead_letters(self, lease: Lease, letters: Sequence[DeadLetter]) -> None:
        """Store units that failed for good; the same unit of the same run is stored once.

        A unit that was worked on again has its letter already: it is open again, with the new error.
        """
        ...

    def add_spans(self, lease: Lease, spans: Sequence[SpanRow]) -> None:
        """Keep spans for local inspection, up to the store's bound for each run."""
        ...

    def finish(self, lease: Lease, result: RunResult) -> None:
        """Write the outcome and give up the lease.

        Where it may pass and the run has attempts and time left, the run is queued for the next one.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
