"""What a run ends as: state, exit code, letters and endings, for every way in which it can end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cableway.definition import PipelineDefinition
from cableway.errors import LeaseLostError, UnavailableError
from cableway.job import run_opened
from cableway.running.opening import Opened
from cableway.running.stopping import Signals
from cableway.settings import read_settings
from cableway.store.memory import MemoryRunStore
from cableway.store.port import Lease
from tests.unit.job import blocs
from tests.unit.job.running import bloc, pipeline, run, seen, stage

Capture = pytest.CaptureFixture[str]


def three_through(
    *, fail_on: list[int] | None = None, what: str = "ValueError", keep: Any = None, **settings: Any
) -> Any:
    return pipeline(
        stage(bloc("numbers", count=4, batch_size=1)),
        stage(bloc("multiply", fail_on=fail_on or [], what=what)),
        stage(bloc("keep", **(keep or {}))),
        **settings,
    )


def test_a_run_that_succeeds_commits_and_says_where_its_output_is(capsys: Capture) -> None:
    ran = run(three_through())
    assert (ran.code, ran.run.state) == (0, "succeeded")
    assert seen("keep")[-1] == "succeeded"
    assert ran.result.outputs == {"keep": {"kept": True}}
    assert (ran.result.rows_in, ran.result.rows_out) == (4, 4)
    assert ran.result.trace_id
    captured = capsys.readouterr()
    assert captured.err == ""
    last = json.loads(captured.out.splitlines()[-1])
    assert (last["event"], last["state"], last["exit_code"], last["attempt"]) == ("run.finished", "succeeded", 0, 1)
    assert last["counts"]["emitted"] == 5


@pytest.mark.promise("P10")
def test_the_outcomes_of_all_items_add_up_to_those_emitted() -> None:
    ran = run(
        pipeline(
            stage(bloc("numbers", count=9, batch_size=1)),
            stage(bloc("multiply", fail_on=[1, 2], drop=[3])),
            max_errors=2,
        )
    )
    counts = dict(ran.result.counts)
    emitted = counts.pop("emitted")
    assert emitted == sum(counts.values()) == 10
    assert counts == {"succeeded": 7, "failed": 2, "skipped": 1, "cancelled": 0, "lost": 0}


def test_an_item_that_fails_is_a_dead_letter_and_the_others_go_through_before_the_run_has_failed(
    capsys: Capture,
) -> None:
    ran = run(three_through(fail_on=[1]))
    assert (ran.code, ran.run.state, ran.reason) == (3, "failed", "items_failed")
    (letter,) = ran.letters
    assert (letter.item_id, letter.stage, letter.bloc, letter.error_type) == (
        "n1",
        "s_multiply",
        "multiply",
        "ValueError",
    )
    assert letter.message == "canary 1"
    assert letter.payload == {"numbers": 1}
    assert letter.stack is not None
    assert "blocs.py" in letter.stack
    assert (letter.trace_id, bool(letter.span_id)) == (ran.result.trace_id, True)
    assert [value for value in seen("keep") if isinstance(value, int)] == [0, 4, 6]
    assert seen("keep")[-1] == "failed"
    assert ran.result.outputs == {}
    captured = capsys.readouterr()
    assert (
        captured.err.count("1 item of 5 failed, max_errors is 0; in stage 's_multiply', bloc 'multiply', item 'n1'")
        == 1
    )
    assert "canary" not in captured.out + captured.err + json.dumps(ran.result.problem), "no problem tells a value"


def test_what_names_a_column_is_told_in_full() -> None:
    ran = run(three_through(fail_on=[1], what="KeyError"))
    assert ran.detail.endswith("item 'n1': KeyError: 'canary 1'")


@pytest.mark.parametrize(
    ("max_errors", "fail_on", "code", "state"),
    [
        (2, [1, 2], 0, "completed_with_errors"),
        (1, [1, 2], 3, "failed"),
        ("40%", [1, 2], 0, "completed_with_errors"),
        ("39.9%", [1, 2], 3, "failed"),
        ("0%", [], 0, "succeeded"),
    ],
)
@pytest.mark.fault("A1")
def test_max_errors_is_a_count_or_a_share_of_the_items(
    max_errors: int | str, fail_on: list[int], code: int, state: str
) -> None:
    ran = run(three_through(fail_on=fail_on, max_errors=max_errors))
    assert (ran.code, ran.run.state) == (code, state)
    assert seen("keep")[-1] == state
    assert len(ran.letters) == len(fail_on)


@pytest.mark.promise("P21")
@pytest.mark.parametrize("item", [0, 3])
def test_a_full_disk_is_74_whatever_max_errors_allows_and_whichever_item_meets_it(item: int) -> None:
    ran = run(three_through(fail_on=[item], what="ResourceError", max_errors=4))
    assert (ran.code, ran.run.state) == (74, "failed")
    assert seen("keep")[-1] == "failed"


def test_rows_that_were_held_for_the_whole_run_are_not_told_as_written_when_it_failed() -> None:
    ran = run(three_through(fail_on=[1], keep={"whole": True}))
    assert (ran.code, ran.result.rows_out) == (3, 0)
    ran = run(three_through(fail_on=[1]))
    assert (ran.code, ran.result.rows_out) == (3, 3)


@pytest.mark.fault("A12")
@pytest.mark.promise("P15")
@pytest.mark.parametrize("own", [True, False])
def test_a_source_that_raises_fails_the_run_once_what_it_gave_is_through(own: bool) -> None:
    loader = bloc("numbers", count=9, batch_size=1, fail_after=3, fail_own=own)
    ran = run(pipeline(stage(loader), stage(bloc("multiply")), stage(bloc("keep")), max_errors=100))
    assert (ran.code, ran.run.state, ran.reason) == (3, "failed", "source_error")
    assert sorted(value for value in seen("keep") if isinstance(value, int)) == [0, 2, 4]
    assert seen("keep")[-1] == "failed"
    assert seen("numbers")[-1] == "closed"
    assert ran.result.counts["succeeded"] == 3
    told = "numbers.csv: row 7 is torn" if own else "loader 'numbers' could not go on reading: OSError"
    assert ran.detail.startswith(told)
    assert "secret" not in ran.detail


def test_a_stage_may_fail_the_run_at_its_first_failure() -> None:
    ran = run(
        pipeline(
            stage(bloc("numbers", batch_size=1)),
            stage(bloc("multiply", fail_on=[0]), on_error="fail_run"),
            max_errors=5,
        )
    )
    assert (ran.code, ran.reason) == (3, "items_failed")
    assert ran.detail.startswith("an item failed, and its stage fails the run for that: stage 's_multiply'")
    assert "canary" not in ran.detail


def test_a_bloc_that_cannot_start_fails_the_run_before_anything_moved() -> None:
    ran = run(three_through(keep={"fail_open": True}))
    assert (ran.code, ran.run.state, ran.reason) == (3, "failed", "sink_error")
    assert ran.detail == "bloc 'keep' could not start: PermissionError: no way in"
    assert ran.result.counts == {"emitted": 0, "succeeded": 0, "failed": 0, "skipped": 0, "cancelled": 0, "lost": 0}
    assert seen("keep") == ["open", "failed"]
    assert seen("multiply") == []


@pytest.mark.fault("A17")
def test_a_bloc_that_cannot_finish_fails_the_run_and_nothing_is_told_as_written() -> None:
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)),
        stage(bloc("keep", "torn", fail_close=True, whole=True), bloc("keep", "after", whole=True)),
    )
    ran = run(definition)
    assert (ran.code, ran.run.state, ran.reason) == (3, "failed", "finalize")
    assert ran.detail == "bloc 'torn' could not finish: RuntimeError: upload refused"
    assert seen("after")[-1] == "failed", "those that close later give up what they hold"
    assert (ran.result.rows_out, ran.result.outputs) == (0, {})


def test_an_error_that_nobody_foresaw_is_1_with_its_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("cableway.job.Attempt", broken)
    ran = run(three_through())
    assert (ran.code, ran.run.state, ran.reason) == (1, "failed", "bug")
    assert "canary" not in ran.detail
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None


@pytest.mark.fault("A7", "A13")
@pytest.mark.promise("P13")
@pytest.mark.parametrize("lane", ["thread", "async"])
def test_a_run_that_takes_too_long_is_124_though_a_handler_hangs(lane: str) -> None:
    worker = bloc("multiply" if lane == "thread" else "multiply_async", hang_on=1)
    began = time.monotonic()
    ran = run(pipeline(stage(bloc("numbers", batch_size=1)), stage(worker), stage(bloc("keep")), timeout_s=0.5))
    assert (ran.code, ran.run.state) == (124, "timed_out")
    assert ran.detail == "the run took longer than its timeout of 0.5 s"
    assert time.monotonic() - began < 5
    assert ran.result.counts["cancelled"] > 0
    assert seen("keep")[-1] == "failed"


@pytest.mark.parametrize("where", ["hang_open", "hang_close"])
def test_a_bloc_that_hangs_where_it_opens_or_closes_does_not_outlast_the_runs_timeout(where: str) -> None:
    began = time.monotonic()
    ran = run(three_through(keep={where: True}, timeout_s=0.5, grace_s=0.5))
    assert (ran.code, ran.run.state) == (124, "timed_out")
    assert time.monotonic() - began < 5
    assert ran.result.outputs == {}


class Watched(MemoryRunStore):
    """A store that takes the lease away when a bloc hangs, and counts what is written after that."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.refuse = threading.Event()

    def add_dead_letters(self, lease: Lease, letters: Any) -> None:
        self.written.append("letters")
        super().add_dead_letters(lease, letters)

    def add_spans(self, lease: Lease, spans: Any) -> None:
        self.written.append("spans")
        super().add_spans(lease, spans)

    def finish(self, lease: Lease, result: Any) -> None:
        self.written.append("finish")
        super().finish(lease, result)

    def beat(self, lease: Lease) -> Any:
        if self.refuse.is_set():
            raise LeaseLostError("attempt 1 does not hold run r any more")
        return super().beat(lease)


def hanging(**settings: Any) -> PipelineDefinition:
    return pipeline(
        stage(bloc("numbers", batch_size=1)), stage(bloc("multiply", hang_on=1)), stage(bloc("keep")), **settings
    )


def test_an_attempt_whose_lease_is_lost_writes_nothing_more_and_exits_75(
    capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    store = Watched()
    store.refuse.set()
    ran = run(hanging(lease_ttl_s=1), store=store)
    assert ran.code == 75
    assert store.written == []
    assert ran.run.result is None
    assert seen("keep")[-1] == "interrupted"
    captured = capsys.readouterr()
    last = json.loads(captured.out.splitlines()[-1])
    assert (last["state"], last["reason"], last["exit_code"]) == ("crashed", "lease_lost", 75)
    assert captured.err == ""
    assert len([record for record in caplog.records if "does not hold" in record.getMessage()]) == 1


def test_a_run_that_somebody_cancels_ends_within_its_grace() -> None:
    store = MemoryRunStore()

    def cancel() -> None:
        assert blocs.HANGING.wait(10)
        store.cancel(next(iter(store.runs)))

    threading.Thread(target=cancel, daemon=True).start()
    ran = run(hanging(lease_ttl_s=4, grace_s=0.3), store=store)
    assert (ran.code, ran.run.state, ran.reason) == (3, "cancelled", "cancelled")
    assert seen("keep")[-1] == "failed"


def test_a_run_that_was_cancelled_before_it_began_does_not_begin() -> None:
    store = MemoryRunStore()
    run_id = store.add_run(three_through())
    store.claim(run_id)
    store.cancel(run_id)
    store.runs[run_id].expires_at = 0.0  # the attempt that should have heard of it is gone
    settings = read_settings({"CABLEWAY_BLOCS": "tests.unit.job.blocs"})
    assert run_opened(Opened(store, lambda: store, run_id), settings, {}) == 3
    assert store.runs[run_id].state == "cancelled"
    assert seen("multiply") == []


@pytest.fixture
def signals() -> Iterator[Signals]:
    caught = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in caught}
    found = Signals()
    found.install()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_the_run(signals: Signals, number: signal.Signals) -> None:
    def send() -> None:
        assert blocs.HANGING.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    threading.Thread(target=send, daemon=True).start()
    began = time.monotonic()
    ran = run(hanging(grace_s=0.3), signals=signals)
    assert (ran.code, ran.run.state) == (143, "interrupted")
    assert time.monotonic() - began < 5
    assert seen("keep")[-1] == "interrupted"
    assert ran.result.counts["cancelled"] > 0


def test_what_is_in_flight_finishes_within_the_grace(signals: Signals) -> None:
    def send() -> None:
        assert blocs.HANGING.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        blocs.RELEASE.set()

    threading.Thread(target=send, daemon=True).start()
    ran = run(hanging(grace_s=20), signals=signals)
    if ran.code == 143:
        assert ran.result.counts["cancelled"] > 0, "a run is only interrupted when something was cut short"
    else:
        assert (ran.code, ran.result.counts["cancelled"]) == (0, 0)
    assert ran.result.counts["lost"] == 0


class Left(Exception):  # noqa: N818 - it plays the end of the process
    pass


def leave(code: int) -> None:
    raise Left(code)


def test_before_there_is_a_run_a_signal_ends_the_process(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.stopping.os._exit", leave)
    assert signals is not None
    with pytest.raises(Left, match="143"):
        signal.raise_signal(signal.SIGTERM)


class Interrupted(MemoryRunStore):
    """Sends a signal while the answer to the claim is on its way; *twice* says it again."""

    def __init__(self, *, twice: bool = False) -> None:
        super().__init__()
        self._twice = twice

    def claim(self, run_id: str, **more: Any) -> Any:
        claim = super().claim(run_id, **more)
        signal.raise_signal(signal.SIGTERM)
        if self._twice:
            signal.raise_signal(signal.SIGTERM)
        return claim


def test_a_signal_waits_for_the_answer_to_the_claim(signals: Signals) -> None:
    ran = run(hanging(grace_s=0.3), store=Interrupted(), signals=signals)
    assert (ran.code, ran.run.state) == (143, "interrupted")
    assert seen("multiply") == []
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_second_signal_does_not_wait_for_it(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.stopping.os._exit", leave)
    with pytest.raises(Left, match="143"):
        run(hanging(), store=Interrupted(twice=True), signals=signals)


def test_a_signal_does_not_wait_for_an_answer_that_stays_away(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cableway.running.stopping.os._exit", leave)
    monkeypatch.setattr("cableway.running.stopping.HELD_BACK_S", 0.05)

    def wait() -> None:
        with signals.held_back():
            signal.raise_signal(signal.SIGTERM)
            threading.Event().wait(20)

    with pytest.raises(Left, match="143"):
        wait()


def test_a_signal_during_a_claim_that_gets_nothing_ends_the_process(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cableway.running.stopping.os._exit", leave)
    store = Interrupted()
    run_id = store.add_run(hanging())
    store.cancel(run_id)
    with pytest.raises(Left, match="143"):
        run_opened(Opened(store, lambda: store, run_id), read_settings({}), {}, signals=signals)


def test_the_second_signal_ends_the_process_at_once(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    drained: list[bool] = []
    monkeypatch.setattr("cableway.running.stopping.os._exit", left.append)
    signals.drain_by(lambda: drained.append(True))
    signal.raise_signal(signal.SIGTERM)
    assert (drained, left) == ([True], [])
    signal.raise_signal(signal.SIGINT)
    assert left == [143]


class Flaky(MemoryRunStore):
    """A store that is away for some calls."""

    def __init__(self, *, letters: int = 0, spans: bool = False, finish: bool = False) -> None:
        super().__init__()
        self.letters_away, self.spans_away, self.finish_away = letters, spans, finish

    def add_dead_letters(self, lease: Lease, letters: Any) -> None:
        if self.letters_away:
            self.letters_away -= 1
            raise UnavailableError("Postgres is away")
        super().add_dead_letters(lease, letters)

    def add_spans(self, lease: Lease, spans: Any) -> None:
        if self.spans_away:
            raise RuntimeError("no room for spans")
        super().add_spans(lease, spans)

    def finish(self, lease: Lease, result: Any) -> None:
        if self.finish_away:
            raise UnavailableError("Postgres is away")
        super().finish(lease, result)


def test_an_outcome_that_cannot_be_recorded_is_75_and_stands_on_the_last_line(capsys: Capture) -> None:
    ran = run(three_through(grace_s=0.2), store=Flaky(finish=True))
    assert ran.code == 75
    captured = capsys.readouterr()
    last = json.loads(captured.out.splitlines()[-1])
    assert (last["state"], last["exit_code"], last["reason"]) == ("succeeded", 75, "not_recorded")
    assert captured.err == "cableway: the outcome (succeeded) could not be recorded: Postgres is away\n"


def test_a_local_copy_of_spans_that_cannot_be_kept_changes_nothing() -> None:
    ran = run(three_through(), store=Flaky(spans=True))
    assert (ran.code, ran.run.state) == (0, "succeeded")


def test_dead_letters_that_cannot_be_stored_end_the_run_with_75_and_nothing_is_committed() -> None:
    ran = run(three_through(fail_on=[1], max_errors=5), store=Flaky(letters=99))
    assert (ran.code, ran.reason) == (75, "not_recorded")
    assert seen("keep")[-1] == "failed"


def test_dead_letters_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.letters.STORE_EVERY_S", 0.01)
    store = Flaky(letters=1)

    def go_on() -> None:
        assert blocs.HANGING.wait(10)
        while store.letters_away:
            time.sleep(0.01)
        blocs.RELEASE.set()

    threading.Thread(target=go_on, daemon=True).start()
    definition = pipeline(
        stage(bloc("numbers", batch_size=1)), stage(bloc("multiply", fail_on=[0], hang_on=2)), max_errors=1
    )
    ran = run(definition, store=store)
    assert (ran.code, ran.run.state, len(ran.letters)) == (0, "completed_with_errors", 1)


def test_a_stream_overlaps_with_the_next_stage_and_a_whole_load_does_not() -> None:
    """With ``queue_size`` 1 the loader cannot be done before the next stage has begun."""
    run(pipeline(stage(bloc("numbers", count=30, batch_size=1)), stage(bloc("multiply"), queue_size=1)))
    order = [name for name, value in blocs.SEEN if value != "closed"]
    assert order.index("multiply") < len(order) - 1 - order[::-1].index("numbers")


def test_a_run_that_another_attempt_holds_is_left_alone_after_one_lease(capsys: Capture) -> None:
    waits: list[float] = []
    store = MemoryRunStore(clock=lambda: 0.0)
    run_id = store.add_run(three_through())
    store.claim(run_id)
    assert run_opened(Opened(store, lambda: store, run_id), read_settings({}), {}, wait=waits.append) == 0
    assert waits == [61.0]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "running"
    assert seen("multiply") == []


def test_parameters_reach_config_and_blocs() -> None:
    definition = pipeline(
        stage(bloc("numbers", count="${param:many}", batch_size=1)),
        stage(bloc("keep")),
        parameters={"many": {"type": "integer", "default": 2}},
    )
    assert run(definition).result.rows_in == 2
    assert run(definition, parameters={"many": 5}).result.rows_in == 5


def test_a_stage_that_names_no_errors_tries_again_on_all() -> None:
    retry = {"attempts": 3, "initial_s": 0.001}
    ran = run(pipeline(stage(bloc("numbers", batch_size=1)), stage(bloc("multiply", fail_on=[1]), retry=retry)))
    assert ran.code == 3
    assert [letter.attempts for letter in ran.letters] == [3]
