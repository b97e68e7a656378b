"""
The run store in memory: for `run --file`, and for tests of what needs a run store and no Postgres.

It keeps the port's promises within one process. Runs are added with `MemoryRunStore.add_run`; what
became of one stands in its `MemoryRun`.
"""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cableway.definition import DOCUMENT_FORMAT, JsonObject, PipelineDefinition
from cableway.errors import LeaseLostError, UnknownRunError
from cableway.parameters import checked_parameters
from cableway.store.ids import new_id
from cableway.store.port import (
    Beat,
    Claimed,
    DeadLetter,
    DeadUnit,
    Drawn,
    Ended,
    Held,
    Lease,
    ReplayedItem,
    RunRecord,
    RunResult,
    RunState,
    SpanRow,
    TakenLine,
)

SPANS_PER_RUN = 2_000
"""Spans that are kept of a run."""

_FREE = frozenset({RunState.QUEUED, RunState.LAUNCHING, RunState.INTERRUPTED, RunState.CRASHED})
_WORKED_ON = frozenset({RunState.RUNNING, RunState.CANCELLING})


@dataclass(slots=True, kw_only=True)
class MemoryAttempt:
    """One attempt at a run."""

    attempt: int
    token: int
    external_id: str | None
    state: RunState = RunState.RUNNING
    result: RunResult | None = None


@dataclass(slots=True, kw_only=True)
class MemoryRun:
    """A run and what became of it."""

    run_id: str
    definition: PipelineDefinition
    parameters: Mapping[str, Any]
    line: str
    key: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    trace_id: str | None = None
    state: RunState = RunState.QUEUED
    attempts: list[MemoryAttempt] = field(default_factory=list[MemoryAttempt])
    letters: dict[tuple[str, str, str], DeadLetter] = field(default_factory=dict[tuple[str, str, str], DeadLetter])
    spans: dict[str, SpanRow] = field(default_factory=dict[str, SpanRow])
    cursor: JsonObject | None = None
    result: RunResult | None = None
    begun_at: float = 0.0
    expires_at: float = 0.0


class MemoryRunStore:
    """Keeps runs in this process. *clock* gives seconds that only go forward."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, spans_per_run: int = SPANS_PER_RUN) -> None:
        self._clock = clock
        self._spans_per_run = spans_per_run
        self._tokens = itertools.count(1)
        self._lock = threading.Lock()
        self.runs: dict[str, MemoryRun] = {}
        self.lines: dict[tuple[str, str], str] = {}
        self.cursors: dict[str, JsonObject] = {}

    def add_run(
        self,
        definition: PipelineDefinition,
        parameters: Mapping[str, Any] | None = None,
        *,
        texts: Mapping[str, str] | None = None,
        key: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str:
        """Queue a run of *definition* and return its id; *texts* are parameters as a command line gives them.

        Raise `ParameterError` where they do not fit.
        """
        run = MemoryRun(
            run_id=new_id(),
            definition=definition,
            parameters=checked_parameters(definition.parameters, parameters or {}, texts),
            line=new_id(),
            key=key,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        self.runs[run.run_id] = run
        return run.run_id

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a run; one that nobody works on is cancelled at once."""
        with self._lock:
            run = self._run(run_id)
            if run.state in _WORKED_ON and run.expires_at > self._clock():
                run.state = RunState.CANCELLING
            elif run.state in _FREE | _WORKED_ON:
                if run.state in _WORKED_ON:
                    run.attempts[-1].state = RunState.CRASHED
                run.state = RunState.CANCELLED

    def claim(
        self, run_id: str, *, trace_id: str | None = None, external_id: str | None = None
    ) -> Claimed | Held | Ended:
        """As `RunStore.claim`."""
        with self._lock:
            run = self._run(run_id)
            left_s = run.expires_at - self._clock()
            if run.state in _WORKED_ON:
                if left_s > 0:
                    return Held(expires_in_s=left_s)
                run.attempts[-1].state = RunState.CRASHED
            elif run.state not in _FREE:
                return Ended(state=run.state)
            if run.state is not RunState.CANCELLING:
                run.state = RunState.RUNNING
            attempt = MemoryAttempt(attempt=len(run.attempts) + 1, token=next(self._tokens), external_id=external_id)
            run.begun_at = run.begun_at if run.attempts else self._clock()
            run.attempts.append(attempt)
            run.trace_id = trace_id or run.trace_id
            ttl_s = run.definition.settings.lease_ttl_s
            run.expires_at = self._clock() + ttl_s
            lease = Lease(run_id=run_id, attempt=attempt.attempt, token=attempt.token, ttl_s=ttl_s)
            return Claimed(lease=lease, run=_record(run, self.cursors.get(run.line)))

    def hand_back(self, run_id: str) -> None:
        """As `RunStore.hand_back`."""
        with self._lock:
            run = self._run(run_id)
            if run.state is RunState.LAUNCHING:
                run.state = RunState.QUEUED

    def hear(self, lease: Lease, stopped: int, timeout_s: float) -> None:
        """As `RunStore.hear`; nothing is heard, and the time is waited out."""
        select.select([stopped], [], [], timeout_s)

    def draw(self, lease: Lease, limit: str, *, slots: int, in_use: int, starts: int) -> Drawn:
        """As `RunStore.draw`: there is nobody to share with, so all that is wanted is given."""
        with self._lock:
            self._held(lease)
        return Drawn(slots=max(slots, in_use), starts=None)

    def beat(self, lease: Lease) -> Beat:
        """As `RunStore.beat`."""
        with self._lock:
            run = self._held(lease)
            run.expires_at = self._clock() + lease.ttl_s
            return Beat(cancel_requested=run.state is RunState.CANCELLING)

    def take_line(self, lease: Lease, loader: str) -> TakenLine | Held:
        """As `RunStore.take_line`."""
        with self._lock:
            run = self._held(lease)
            line = self.lines.setdefault((run.definition.name, loader), new_id())
            others = [other for other in self.runs.values() if other.line == line and other is not run]
            busy_s = max((other.expires_at - self._clock() for other in others if other.state in _WORKED_ON), default=0)
            if busy_s > 0:
                return Held(expires_in_s=busy_s)
            run.line = line
            return TakenLine(line=line, cursor=self.cursors.get(line, {}), run_id=run.run_id)

    def take_share(
        self, lease: Lease, shares: Sequence[JsonObject] | None = None, cursor: JsonObject | None = None
    ) -> JsonObject | None:
        """As `RunStore.take_share`. No run here is a part, so that there is one share, and it is what is planned."""
        with self._lock:
            self._held(lease)
        return None if shares is None else shares[0]

    def part_cursors(self, lease: Lease) -> Sequence[JsonObject]:
        """As `RunStore.part_cursors`: the run is its own only part."""
        with self._lock:
            return [self.cursors.get(self._held(lease).line, {})]

    def close_whole(self, lease: Lease, done: JsonObject) -> None:
        """As `RunStore.close_whole`: it belongs to none."""
        with self._lock:
            self._held(lease)

    def whole_line(self, lease: Lease) -> str:
        """As `RunStore.whole_line`; here it is the run's own."""
        with self._lock:
            return self._held(lease).line

    def dead_units(self, lease: Lease, prefix: str) -> set[DeadUnit]:
        """As `RunStore.dead_units`."""
        with self._lock:
            held = self._held(lease)
            on_line = [run for run in self.runs.values() if run.line == held.line]
            return {
                DeadUnit(each.stage, each.bloc, each.item_id, own=run is held)
                for run in on_line
                for each in run.letters.values()
                if each.item_id.startswith(prefix)
            }

    def take_letters(self, lease: Lease, *, own: bool) -> None:
        """As `RunStore.take_letters`; here nothing is replayed, and a letter is gone while it is worked on again."""
        with self._lock:
            run = self._held(lease)
            if own:
                run.letters.clear()

    def replayed_items(self, lease: Lease, after: int, limit: int) -> Sequence[ReplayedItem]:
        """As `RunStore.replayed_items`: there are none."""
        with self._lock:
            self._held(lease)
        return []

    def checkpoint(self, lease: Lease, cursor: JsonObject) -> None:
        """As `RunStore.checkpoint`."""
        with self._lock:
            run = self._held(lease)
            run.cursor = self.cursors[run.line] = dict(cursor)

    def add_dead_letters(self, lease: Lease, letters: Sequence[DeadLetter]) -> None:
        """As `RunStore.add_dead_letters`."""
        with self._lock:
            kept = self._held(lease).letters
            for letter in letters:
                kept.setdefault((letter.stage, letter.bloc, letter.item_id), letter)

    def add_spans(self, lease: Lease, spans: Sequence[SpanRow]) -> None:
        """As `RunStore.add_spans`."""
        with self._lock:
            kept = self._held(lease).spans
            for span in spans:
                if len(kept) < self._spans_per_run:
                    kept.setdefault(span.span_id, span)

    def finish(self, lease: Lease, result: RunResult) -> None:
        """As `RunStore.finish`."""
        with self._lock:
            run = self._run(lease.run_id)
            if run.attempts[-1].token == lease.token and run.attempts[-1].state is result.state:
                return
            run = self._held(lease)
            run.state = self._next_state(run, result)
            run.attempts[-1].state = result.state
            run.result = run.attempts[-1].result = result
            run.trace_id = result.trace_id or run.trace_id

    def close(self) -> None:
        """As `RunStore.close`; the runs stay."""

    def _next_state(self, run: MemoryRun, result: RunResult) -> RunState:
        if run.state is RunState.CANCELLING:
            given_up = result.state in {RunState.INTERRUPTED, RunState.CRASHED}
            return RunState.CANCELLED if given_up else result.state
        left_s = self._time_left_s(run)
        again = len(run.attempts) < run.definition.settings.attempts and (left_s is None or left_s > 0)
        return RunState.QUEUED if result.may_pass and again else result.state

    def _time_left_s(self, run: MemoryRun) -> float | None:
        timeout_s = run.definition.settings.timeout_s
        return None if timeout_s is None else run.begun_at + timeout_s - self._clock()

    def _run(self, run_id: str) -> MemoryRun:
        run = self.runs.get(run_id)
        if run is None:
            raise UnknownRunError(f"no run {run_id[:80]!r}")
        return run

    def _held(self, lease: Lease) -> MemoryRun:
        run = self._run(lease.run_id)
        if run.state not in _WORKED_ON or run.attempts[-1].token != lease.token:
            raise LeaseLostError(f"attempt {lease.attempt} does not hold run {lease.run_id} any more")
        return run


def _record(run: MemoryRun, cursor: JsonObject | None) -> RunRecord:
    return RunRecord(
        run_id=run.run_id,
        pipeline=run.definition.name,
        version=1,
        version_hash=run.definition.content_hash(),
        document=run.definition.document(),
        document_format=DOCUMENT_FORMAT,
        state=run.state,
        parameters=run.parameters,
        line=run.line,
        key=run.key,
        attempt=len(run.attempts),
        traceparent=run.traceparent,
        tracestate=run.tracestate,
        trace_id=run.trace_id,
        cursor=cursor,
    )
