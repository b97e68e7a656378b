"""
The run store in Postgres: one round trip for each call that gets what it asks for.

Every statement may be sent twice (a claim knows itself again by its id, the others find what they
wrote), so where the connection broke the answer is asked for again. A store serves one thread at a
time; a heartbeat has a store of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from cableway.definition import JsonObject
from cableway.errors import LeaseLostError, UnknownNameError, UnknownRunError, UsageError
from cableway.settings import DatabaseSettings
from cableway.store.executor import Row, Step
from cableway.store.ids import is_id
from cableway.store.port import (
    Beat,
    Claimed,
    DeadLetter,
    DeadUnit,
    Drawn,
    Ended,
    Full,
    Held,
    Lease,
    PartOf,
    Replay,
    ReplayedItem,
    RunRecord,
    RunResult,
    RunState,
    SpanRow,
    TakenLine,
)
from cableway.store.session import Session
from cableway.store.storable import storable_json, storable_text
from cableway.store.versions import SCHEMA_NUMBER, check_number

if TYPE_CHECKING:
    from cableway.store.hearing import Ear

SPANS_PER_RUN = 2_000
"""Spans that are kept of a run."""

_OPEN = frozenset({RunState.QUEUED, RunState.LAUNCHING, RunState.INTERRUPTED, RunState.CRASHED})


class PostgresRunStore:
    """Keeps runs in Postgres.

    *patience_s* is how long a call goes on when the server is away (by default the settings'
    connect budget; 0: it fails at once). *spans_per_run* bounds the local copy of spans. The
    store's session is there for those who have more to send before the run is claimed.
    """

    def __init__(
        self, settings: DatabaseSettings, *, patience_s: float | None = None, spans_per_run: int = SPANS_PER_RUN
    ) -> None:
        self.session = Session(settings, patience_s=patience_s)
        self._settings = settings
        self._spans_per_run = spans_per_run
        self._ear: Ear | None = None

    def claim(
        self, run_id: str, *, trace_id: str | None = None, external_id: str | None = None
    ) -> Claimed | Held | Full | Ended:
        """As `RunStore.claim`; `SchemaVersionError` where the schema is another version's: then nothing is taken."""
        if not is_id(run_id):
            raise self._unknown(run_id)
        row = self._taken(run_id, trace_id, external_id)
        if row is None:
            return self._unclaimed(run_id)
        lease = Lease(run_id=run_id, attempt=row["attempt"], token=row["lease_token"], ttl_s=row["lease_ttl_s"])
        return Claimed(lease=lease, run=_run_record(run_id, row))

    def hand_back(self, run_id: str) -> None:
        """As `RunStore.hand_back`."""
        self.session.rows("hand_back", run_id=run_id)

    def hear(self, lease: Lease, stopped: int, timeout_s: float) -> None:
        """As `RunStore.hear`; behind a pooler that shares connections nothing is heard, and the time is waited out."""
        if self._ear is None:
            from cableway.store.hearing import Ear  # a short run never listens

            self._ear = Ear(self.session, "hear_cancels")
        self._ear.wait(timeout_s, stopped, lambda said: said.endswith(lease.run_id))

    def draw(self, lease: Lease, limit: str, *, slots: int, in_use: int, starts: int) -> Drawn:
        """As `RunStore.draw`."""
        facts = {"slots": slots, "slots_in_use": in_use, "starts": starts, "name": storable_text(limit)}
        lock = Step("lock_limit", {"name": facts["name"]})
        row = self.session.rows("draw_limit", (lock,), run_id=lease.run_id, token=lease.token, **facts)
        if not row:
            self.beat(lease)  # of a lost lease it says so
            raise UnknownNameError(f"there is no limit {limit!r}: set it, or take it from the stage's limits")
        drawn = row[0]
        return Drawn(
            slots=drawn["slots"],
            starts=drawn["starts"] if drawn["has_rate"] else None,
            next_start_s=drawn["next_start_s"],
            per_s=drawn["per_s"],
        )

    def beat(self, lease: Lease) -> Beat:
        """As `RunStore.beat`."""
        return Beat(cancel_requested=self._write("beat", lease)["cancel_requested"])

    def take_line(self, lease: Lease, loader: str) -> TakenLine | Held:
        """As `RunStore.take_line`."""
        mine = {"run_id": lease.run_id, "token": lease.token, "loader": loader}
        rows = self.session.rows("take_line", (Step("make_line", mine), Step("lock_line", mine)), **mine)
        if not rows:
            raise _lost(lease)
        row = rows[0]
        if row["busy_s"] is not None:
            return Held(expires_in_s=row["busy_s"])
        return TakenLine(line=row["line"], cursor=row["cursor"], run_id=row["run_id"])

    def take_share(
        self, lease: Lease, shares: Sequence[JsonObject] | None = None, cursor: JsonObject | None = None
    ) -> JsonObject | None:
        """As `RunStore.take_share`."""
        share: JsonObject | None = self._write(
            "take_share",
            lease,
            shares=None if shares is None else storable_json(list(shares)),
            cursor=None if cursor is None else storable_json(cursor),
        )["share"]
        return share

    def part_cursors(self, lease: Lease) -> Sequence[JsonObject]:
        """As `RunStore.part_cursors`."""
        rows = self.session.rows("part_cursors", run_id=lease.run_id, token=lease.token)
        if not rows:
            raise _lost(lease)
        return [row["cursor"] for row in rows]

    def close_whole(self, lease: Lease, done: JsonObject) -> None:
        """As `RunStore.close_whole`."""
        self._write("close_whole", lease, done=storable_json(done))

    def whole_line(self, lease: Lease) -> str:
        """As `RunStore.whole_line`."""
        return str(self._write("whole_line", lease)["line"])

    def dead_units(self, lease: Lease, prefix: str) -> set[DeadUnit]:
        """As `RunStore.dead_units`."""
        rows = self.session.rows("dead_units", run_id=lease.run_id, token=lease.token, prefix=prefix)
        return {DeadUnit(**row) for row in rows}

    def take_letters(self, lease: Lease, *, own: bool) -> None:
        """As `RunStore.take_letters`."""
        self._write("take_letters", lease, all=own)

    def replayed_items(self, lease: Lease, after: int, limit: int) -> Sequence[ReplayedItem]:
        """As `RunStore.replayed_items`."""
        mine = {"run_id": lease.run_id, "token": lease.token}
        return [ReplayedItem(**row) for row in self.session.rows("replayed_items", **mine, after=after, limit=limit)]

    def checkpoint(self, lease: Lease, cursor: JsonObject) -> None:
        """As `RunStore.checkpoint`."""
        self._write("checkpoint", lease, position=storable_json(cursor))

    def add_dead_letters(self, lease: Lease, letters: Sequence[DeadLetter]) -> None:
        """As `RunStore.add_dead_letters`; text and payload are made storable where Postgres would refuse them."""
        if letters:
            rows = storable_json([asdict(replace(letter, overflow=None)) for letter in letters])
            self._write("add_dead_letters", lease, letters=rows)

    def add_spans(self, lease: Lease, spans: Sequence[SpanRow]) -> None:
        """As `RunStore.add_spans`; those beyond the bound are let go."""
        if spans:
            rows = storable_json([asdict(span) for span in spans[: self._spans_per_run]])
            self._write("add_spans", lease, spans=rows, bound=self._spans_per_run)

    def finish(self, lease: Lease, result: RunResult) -> None:
        """As `RunStore.finish`: run, attempt and stages change together or not at all.

        With the last part of a run that run has ended too; where this is cut short, a sweep sees to it.
        """
        stages = [{"position": position, **asdict(stage)} for position, stage in enumerate(result.stages)]
        written = self._write(
            "finish",
            lease,
            state=result.state.value,
            may_pass=result.may_pass,
            exit_code=result.exit_code,
            counts=storable_json(dict(result.counts)),
            rows_in=result.rows_in,
            rows_out=result.rows_out,
            spans_dropped=result.spans_dropped,
            outputs=storable_json(dict(result.outputs)),
            problem=None if result.problem is None else storable_json(result.problem),
            trace_id=result.trace_id,
            stages=storable_json(stages),
            profile=None if result.profile is None else storable_json(result.profile),
        )
        if written["is_part"]:
            self.session.rows("close_wholes", run_id=lease.run_id)

    def close(self) -> None:
        """As `RunStore.close`; a later call connects again."""
        self.session.close()

    def _taken(self, run_id: str, trace_id: str | None, external_id: str | None) -> Row | None:
        asked = {
            "run_id": run_id,
            "trace_id": trace_id,
            "external_id": None if external_id is None else storable_text(external_id),
            "schema_number": SCHEMA_NUMBER,
        }
        place = (
            Step("lock_place", {"run_id": run_id}),
            Step("take_place", {"run_id": run_id, "schema_number": SCHEMA_NUMBER}),
        )
        late = (*place, Step("keep_late", {"run_id": run_id}))
        # What is launched has a place, and whoever prepares claims often: a statement alone costs the least.
        first = place if self._settings.prepare_threshold is None else ()
        row = self._claimed(first, late=False, **asked) or self._claimed(late, late=True, **asked)
        if row is not None and row["attempt"] > 1:
            # A claim that waited for the attempt before it has read the cursor before that one kept its last.
            row |= self.session.rows("claimed_again", run_id=run_id)[0]
        return row

    def _claimed(self, before: Sequence[Step], **asked: Any) -> Row | None:
        rows = self.session.rows("claim", before, claim_id=os.urandom(16).hex(), **asked)
        return rows[0] if rows else None

    def _unclaimed(self, run_id: str) -> Held | Full | Ended:
        """Why nothing was taken. Raise where that is no matter of its state."""
        row = self.session.rows("unclaimed", run_id=run_id)[0]
        check_number(row["schema_number"], self._settings)
        if not row["known"]:
            raise self._unknown(run_id)
        if row["parts"] is not None:
            raise UsageError(f"run {run_id} is worked on in {row['parts']} parts: run those, each by its own id")
        state = RunState(row["state"])
        if state in {RunState.RUNNING, RunState.CANCELLING}:
            return Held(expires_in_s=row["expires_in_s"])
        return Full() if state in _OPEN else Ended(state=state)

    def _write(self, name: str, lease: Lease, **parameters: Any) -> Row:
        row = self.session.row(name, run_id=lease.run_id, token=lease.token, **parameters)
        if row is None:
            raise _lost(lease)
        return row

    def _unknown(self, run_id: str) -> UnknownRunError:
        return UnknownRunError(
            f"no run {storable_text(run_id)[:80]!r} in Postgres at {self._settings.where}, "
            f"schema {self._settings.schema!r}"
        )


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"attempt {lease.attempt} does not hold run {lease.run_id} any more")


def _run_record(run_id: str, row: Row) -> RunRecord:
    replay = None
    if row["replay_stage"] is not None:
        replay = Replay(of=row["replay_of"], stage=row["replay_stage"], whole=row["replay_whole"])
    return RunRecord(
        run_id=run_id,
        pipeline=row["pipeline"],
        version=row["version"],
        version_hash=row["content_hash"],
        document=row["document"],
        document_format=row["document_format"],
        state=RunState(row["state"]),
        parameters=row["parameters"],
        line=row["line"],
        key=row["key"],
        attempt=row["attempt"],
        scheduler_name=row["scheduler_name"],
        trigger_name=row["trigger_name"],
        scheduled_at=row["scheduled_at"],
        traceparent=row["traceparent"],
        tracestate=row["tracestate"],
        trace_id=row["trace_id"],
        cursor=row["cursor"],
        replay=replay,
        part=None if row["part"] is None else PartOf(number=row["part"], parts=row["parts"]),
        time_left_s=row["time_left_s"],
    )
