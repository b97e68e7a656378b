"""What every run store promises the job, whatever it keeps runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest

from cableway.definition import DOCUMENT_FORMAT, JsonObject, ParameterDefinition
from cableway.errors import LeaseLostError, UnknownRunError
from cableway.runs import RunRequest, cancel_run, record_run
from cableway.settings import DatabaseSettings
from cableway.store.memory import MemoryRunStore
from cableway.store.port import (
    ENDED,
    Claimed,
    DeadLetter,
    Ended,
    Held,
    Lease,
    RunResult,
    RunState,
    RunStore,
    SpanRow,
    StageRecord,
)
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import read_dead_letters, read_run, read_spans
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

FLIGHTS = pipeline(day=ParameterDefinition(type="string", default="2013-01-01"))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SPANS_PER_RUN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a run, as somebody else sees it."""

    state: RunState
    attempts: Sequence[tuple[str, int | None]]
    counts: dict[str, int] | None = None
    rows: tuple[int, int] = (0, 0)
    spans_dropped: int = 0
    exit_code: int | None = None
    problem: JsonObject | None = None
    trace_id: str | None = None
    outputs: dict[str, Any] | None = None
    stages: Sequence[StageRecord] = ()
    letters: Sequence[tuple[str, str, Any]] = ()
    spans: Sequence[SpanRow] = ()


class Keeper(Protocol):
    """A store to be tested, and the world around it."""

    def open(self) -> RunStore: ...
    def queue(self, key: str = "k", **parameters: Any) -> str: ...
    def expire(self, run_id: str) -> None: ...
    def cancel(self, run_id: str) -> None: ...
    def put(self, run_id: str, state: RunState) -> None: ...
    def seen(self, run_id: str) -> Seen: ...


class InMemory:
    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryRunStore(clock=lambda: self.now, spans_per_run=SPANS_PER_RUN)

    def open(self) -> RunStore:
        return self.store

    def queue(self, key: str = "k", **parameters: Any) -> str:
        return self.store.add_run(FLIGHTS, parameters, key=key, traceparent=PARENT, tracestate="a=b")

    def expire(self, run_id: str) -> None:
        self.now += FLIGHTS.settings.lease_ttl_s + 1

    def cancel(self, run_id: str) -> None:
        self.store.cancel(run_id)

    def put(self, run_id: str, state: RunState) -> None:
        self.store.runs[run_id].state = state

    def seen(self, run_id: str) -> Seen:
        run = self.store.runs[run_id]
        codes = [None if each.result is None else each.result.exit_code for each in run.attempts]
        facts = Seen(
            state=run.state,
            attempts=[(each.state.value, code) for each, code in zip(run.attempts, codes, strict=True)],
            trace_id=run.trace_id,
            letters=[(each.item_id, each.error_type, each.payload) for each in run.letters.values()],
            spans=list(run.spans.values()),
        )
        return facts if run.result is None else _with_result(facts, run.result)


def _with_result(facts: Seen, result: RunResult) -> Seen:
    return Seen(
        state=facts.state,
        attempts=facts.attempts,
        counts=dict(result.counts),
        rows=(result.rows_in, result.rows_out),
        spans_dropped=result.spans_dropped,
        exit_code=result.exit_code,
        problem=result.problem,
        trace_id=facts.trace_id,
        outputs=dict(result.outputs),
        stages=list(result.stages),
        letters=facts.letters,
        spans=facts.spans,
    )


class InPostgres:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.opened: list[PostgresRunStore] = []
        store_version(session, FLIGHTS)

    def open(self) -> RunStore:
        store = PostgresRunStore(self.session.settings, spans_per_run=SPANS_PER_RUN)
        self.opened.append(store)
        return store

    def queue(self, key: str = "k", **parameters: Any) -> str:
        request = RunRequest(
            pipeline=FLIGHTS.name, parameters=parameters, key=key, traceparent=PARENT, tracestate="a=b"
        )
        return record_run(self.session, request).run_id

    def expire(self, run_id: str) -> None:
        self._update("lease_expires_at = clock_timestamp() - interval '1 second'", run_id)

    def cancel(self, run_id: str) -> None:
        cancel_run(self.session, run_id)

    def put(self, run_id: str, state: RunState) -> None:
        worked_on = state in {RunState.RUNNING, RunState.CANCELLING}
        open_ = worked_on or state in {RunState.QUEUED, RunState.LAUNCHING}
        lease = "" if worked_on else ", lease_expires_at = NULL"
        ended = "NULL" if open_ else "clock_timestamp()"
        self._update(f"state = '{state}', ended_at = {ended}, has_place = {worked_on}{lease}", run_id)

    def _update(self, change: str, run_id: str) -> None:
        self.session.connection().execute(f"UPDATE cableway.runs SET {change} WHERE run_id = %s".encode(), [run_id])

    def seen(self, run_id: str) -> Seen:
        found = self.session.drive(read_run(run_id))
        run, letters = found.run, self.session.drive(read_dead_letters(run_id))
        return Seen(
            state=run.state,
            attempts=[(each.state, each.exit_code) for each in found.attempts],
            counts=None if run.counts is None else dict(run.counts),
            rows=(run.rows_in, run.rows_out),
            spans_dropped=run.spans_dropped,
            exit_code=run.exit_code,
            problem=run.error,
            trace_id=run.trace_id,
            outputs=None if run.outputs is None else dict(run.outputs),
            stages=found.stages,
            letters=[(each.item_id, each.error_type, each.payload) for each in letters],
            spans=self.session.drive(read_spans(run_id)),
        )


@pytest.fixture(params=["memory", "postgres"])
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    if request.param == "memory":
        yield InMemory()
        return
    settings: DatabaseSettings = request.getfixturevalue("state")
    with closing(Session(settings)) as session:
        kept = InPostgres(session)
        yield kept
        for store in kept.opened:
            store.close()


@pytest.fixture
def store(keeper: Keeper) -> RunStore:
    return keeper.open()


def claimed(store: RunStore, run_id: str, **facts: str) -> Claimed:
    claim = store.claim(run_id, **facts)
    assert isinstance(claim, Claimed)
    return claim


def letter(item_id: str, error_type: str = "ValueError", payload: Any = None) -> DeadLetter:
    return DeadLetter(item_id=item_id, stage="load", bloc="read", error_type=error_type, message="no", payload=payload)


def span(number: int) -> SpanRow:
    return SpanRow(
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_span_id=None,
        name=f"item {number}",
        kind="item",
        start_ns=1_700_000_000_000_000_000 + number,
        end_ns=1_700_000_000_000_000_100 + number,
        status="ok",
        attributes={"cableway.item": str(number)},
        events=[{"name": "retry", "time_ns": 5}],
    )


SUCCESS = RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={"emitted": 2, "succeeded": 2})


def test_a_claim_brings_all_that_the_job_needs(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue(day="2013-02-03")
    claim = claimed(store, run_id)
    run = claim.run
    assert (claim.lease.run_id, claim.lease.attempt, claim.lease.ttl_s) == (run_id, 1, 60)
    assert (run.run_id, run.pipeline, run.version, run.attempt) == (run_id, "flights", 1, 1)
    assert (run.document, run.document_format) == (FLIGHTS.document(), DOCUMENT_FORMAT)
    assert (run.version_hash, run.state) == (FLIGHTS.content_hash(), RunState.RUNNING)
    assert (run.parameters, run.key) == ({"day": "2013-02-03"}, "k")
    assert (run.traceparent, run.tracestate, run.cursor) == (PARENT, "a=b", None)
    assert keeper.seen(run_id).state is RunState.RUNNING


def test_an_unknown_run_is_named(store: RunStore) -> None:
    for run_id in ("01a1ff6e-3845-7665-876d-4224aee43cbb", "nonsense", "\x00'", ""):
        with pytest.raises(UnknownRunError, match="no run"):
            store.claim(run_id)


def test_a_held_run_says_for_how_long(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    claimed(store, run_id)
    held = keeper.open().claim(run_id)
    assert isinstance(held, Held)
    assert 50 < held.expires_in_s <= 60
    assert keeper.seen(run_id).attempts == [("running", None)]


@pytest.mark.promise("P4")
def test_of_eight_who_claim_at_once_one_wins(keeper: Keeper) -> None:
    run_id = keeper.queue()
    stores = [keeper.open() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        claims = [future.result() for future in [threads.submit(store.claim, run_id) for store in stores]]
    assert [type(claim) for claim in claims].count(Claimed) == 1
    assert [type(claim) for claim in claims].count(Held) == 7
    assert len(keeper.seen(run_id).attempts) == 1


def test_a_lease_that_ran_out_is_taken_over_under_a_higher_token(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    first = claimed(store, run_id)
    store.checkpoint(first.lease, {"position": 7})
    keeper.expire(run_id)
    second = claimed(keeper.open(), run_id)
    assert second.lease.attempt == second.run.attempt == 2
    assert second.lease.token > first.lease.token
    assert (second.run.line, second.run.cursor) == (first.run.line, {"position": 7})
    assert keeper.seen(run_id).attempts == [("crashed", None), ("running", None)]


@pytest.mark.promise("P17")
def test_an_attempt_that_was_overtaken_changes_nothing(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    stale = claimed(store, run_id).lease
    keeper.expire(run_id)
    current = claimed(keeper.open(), run_id)
    before = keeper.seen(run_id)
    for write in (
        lambda: store.beat(stale),
        lambda: store.checkpoint(stale, {"position": 1}),
        lambda: store.add_dead_letters(stale, [letter("1")]),
        lambda: store.add_spans(stale, [span(1)]),
        lambda: store.draw(stale, "crm", slots=1, in_use=0, starts=1),
        lambda: store.take_line(stale, "read"),
        lambda: store.finish(stale, SUCCESS),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert keeper.seen(run_id) == before
    assert store.beat(current.lease).cancel_requested is False


def test_beats_keep_the_lease(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    keeper.expire(run_id)
    # Nobody took it meanwhile, so it is still ours.
    assert store.beat(lease).cancel_requested is False
    assert isinstance(keeper.open().claim(run_id), Held)


def test_a_beat_brings_the_wish_to_cancel(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    keeper.cancel(run_id)
    assert store.beat(lease).cancel_requested is True
    store.finish(lease, RunResult(state=RunState.CANCELLED, exit_code=3, counts={}))
    assert keeper.seen(run_id).state is RunState.CANCELLED


def test_a_cancelled_run_that_crashed_is_taken_over_as_cancelled(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    claimed(store, run_id)
    keeper.cancel(run_id)
    keeper.expire(run_id)
    assert claimed(keeper.open(), run_id).run.state is RunState.CANCELLING


def test_the_last_checkpoint_counts(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.checkpoint(lease, {"position": 1})
    store.checkpoint(lease, {"position": 2, "file": "ä.csv"})
    keeper.expire(run_id)
    assert claimed(store, run_id).run.cursor == {"position": 2, "file": "ä.csv"}


def test_a_unit_is_a_dead_letter_once(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.add_dead_letters(lease, [letter("1", payload={"a": [1, None]}), letter("2", "KeyError")])
    store.add_dead_letters(lease, [letter("1", "TypeError"), letter("3")])
    store.add_dead_letters(lease, [])
    assert keeper.seen(run_id).letters == [
        ("1", "ValueError", {"a": [1, None]}),
        ("2", "KeyError", None),
        ("3", "ValueError", None),
    ]


def test_a_unit_that_is_worked_on_again_is_dead_once_it_fails_again(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.add_dead_letters(lease, [letter("1"), letter("2")])
    assert {unit.item_id for unit in store.dead_units(lease, "")} == {"1", "2"}
    store.take_letters(lease, own=False)
    assert {unit.item_id for unit in store.dead_units(lease, "")} == {"1", "2"}
    store.take_letters(lease, own=True)
    assert store.dead_units(lease, "") == set()
    store.add_dead_letters(lease, [letter("1", "TypeError")])
    assert {unit.item_id for unit in store.dead_units(lease, "")} == {"1"}
    with pytest.raises(LeaseLostError):
        store.take_letters(replace(lease, token=lease.token - 1), own=True)


def test_spans_are_kept_up_to_the_bound(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.add_spans(lease, [span(1), span(2), span(3)])
    store.add_spans(lease, [span(number) for number in range(4, 12)])
    store.add_spans(lease, [span(12)])
    assert list(keeper.seen(run_id).spans) == [span(number) for number in range(1, SPANS_PER_RUN + 1)]


def test_the_outcome_is_recorded_whole(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id, trace_id=TRACE, external_id="task-1").lease
    stage = StageRecord(
        stage="load", bloc=None, lane="thread", items=3, rows=30, failed=1, skipped=0, retries=2,
        work_s=0.5, wait_s=0.25, blocked_s=0.125, workers=4,
    )  # fmt: skip
    other = StageRecord(
        stage="load", bloc="read", lane="async", items=1, rows=2, failed=0, skipped=1, retries=0,
        work_s=1.5, wait_s=0, blocked_s=0, workers=1,
    )  # fmt: skip
    result = RunResult(
        state=RunState.FAILED,
        exit_code=3,
        counts={"emitted": 3, "succeeded": 2, "failed": 1},
        rows_in=30,
        rows_out=20,
        stages=[stage, other],
        problem={"type": "urn:cableway:error:items_failed", "detail": "1 item failed"},
        spans_dropped=9,
        outputs={"table": "public.flights"},
    )
    store.finish(lease, result)
    seen = keeper.seen(run_id)
    assert (seen.state, seen.exit_code, seen.attempts) == (RunState.FAILED, 3, [("failed", 3)])
    assert (seen.counts, seen.rows, seen.spans_dropped) == (result.counts, (30, 20), 9)
    assert (seen.problem, seen.trace_id, seen.outputs) == (result.problem, TRACE, result.outputs)
    assert list(seen.stages) == [stage, other]


@pytest.mark.parametrize("ending", sorted(ENDED))
def test_a_run_that_ended_stays_ended(keeper: Keeper, store: RunStore, ending: RunState) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.finish(lease, RunResult(state=ending, exit_code=3, counts={"emitted": 1}))
    before = keeper.seen(run_id)
    assert store.claim(run_id) == Ended(state=ending)
    for write in (lambda: store.beat(lease), lambda: store.add_spans(lease, [span(1)])):
        with pytest.raises(LeaseLostError):
            write()
    other = RunResult(state=min(ENDED - {ending}), exit_code=0, counts={})
    with pytest.raises(LeaseLostError):
        store.finish(lease, other)
    assert keeper.seen(run_id) == before


def test_an_outcome_whose_answer_was_lost_may_be_sent_again(keeper: Keeper, store: RunStore) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.finish(lease, SUCCESS)
    store.finish(lease, SUCCESS)
    assert keeper.seen(run_id).attempts == [("succeeded", 0)]


@pytest.mark.parametrize("ending", [RunState.INTERRUPTED, RunState.CRASHED])
def test_an_attempt_that_did_not_finish_leaves_the_run_to_the_next(
    keeper: Keeper, store: RunStore, ending: RunState
) -> None:
    run_id = keeper.queue()
    lease = claimed(store, run_id).lease
    store.finish(lease, RunResult(state=ending, exit_code=143, counts={"emitted": 1}))
    assert keeper.seen(run_id).state is ending
    assert claimed(store, run_id).lease.attempt == 2
    assert keeper.seen(run_id).attempts == [(ending.value, 143), ("running", None)]


FREE = (RunState.QUEUED, RunState.LAUNCHING, RunState.INTERRUPTED, RunState.CRASHED)
WORKED_ON = (RunState.RUNNING, RunState.CANCELLING)


def after_claim(state: RunState, *, expired: bool) -> RunState:
    return RunState.RUNNING if state in FREE else state


def after_cancel(state: RunState, *, expired: bool) -> RunState:
    if state in WORKED_ON:
        return RunState.CANCELLED if expired else RunState.CANCELLING
    return RunState.CANCELLED if state in FREE else state


def after_hand_back(state: RunState, *, expired: bool) -> RunState:
    return RunState.QUEUED if state is RunState.LAUNCHING else state


@pytest.mark.parametrize("act", ["claim", "cancel", "hand_back"])
def test_what_others_do_to_a_run_in_any_state(keeper: Keeper, store: RunStore, act: str) -> None:
    acts: dict[str, tuple[Callable[[str], object], Callable[..., RunState]]] = {
        "claim": (keeper.open().claim, after_claim),
        "cancel": (keeper.cancel, after_cancel),
        "hand_back": (store.hand_back, after_hand_back),
    }
    do, expected = acts[act]
    for standing in RunState:
        for expired in {False, standing in WORKED_ON}:
            run_id = keeper.queue(f"{standing}-{expired}")
            claimed(store, run_id)
            keeper.put(run_id, standing)
            if expired:
                keeper.expire(run_id)
            do(run_id)
            assert keeper.seen(run_id).state is expected(standing, expired=expired), (standing, expired)


def test_an_attempt_writes_only_while_it_works(keeper: Keeper, store: RunStore) -> None:
    endings = [each for each in RunState if each not in {*WORKED_ON, *FREE[:2]}]
    for standing in RunState:
        for ending in endings if standing in WORKED_ON else endings[:1]:
            run_id = keeper.queue(f"{standing}-{ending}")
            lease = claimed(store, run_id).lease
            keeper.put(run_id, standing)
            result = RunResult(state=ending, exit_code=3, counts={})
            if standing in WORKED_ON:
                assert store.beat(lease).cancel_requested is (standing is RunState.CANCELLING)
                store.finish(lease, result)
                given_up = standing is RunState.CANCELLING and ending in {RunState.INTERRUPTED, RunState.CRASHED}
                assert keeper.seen(run_id).state is (RunState.CANCELLED if given_up else ending)
            else:
                refuse_all_writes(store, lease, result)
                assert keeper.seen(run_id).state is standing


def refuse_all_writes(store: RunStore, lease: Lease, result: RunResult) -> None:
    for write in (
        lambda: store.beat(lease),
        lambda: store.checkpoint(lease, {"position": 1}),
        lambda: store.add_dead_letters(lease, [letter("1")]),
        lambda: store.add_spans(lease, [span(1)]),
        lambda: store.finish(lease, result),
    ):
        with pytest.raises(LeaseLostError):
            write()
