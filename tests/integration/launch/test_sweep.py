"""What a sweep does with runs whose container is not there, and which runs it launches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from cableway.errors import LeaseLostError, OverlapError
from cableway.runs import cancel_run
from cableway.settings import DatabaseSettings
from cableway.store.port import Claimed, Ended, Full, Held, RunState
from cableway.store.postgres import PostgresRunStore
from cableway_handlers.launch import Launch, LaunchError, LaunchState, LaunchStatus, Sweep
from tests.integration.launch.conftest import Town
from tests.integration.launch.launchers import Pretender, Watcher


@pytest.mark.promise("P5")
@pytest.mark.fault("D2")
def test_a_run_whose_recorder_died_is_launched_by_the_sweep_once(town: Town) -> None:
    town.define()
    run_id = town.record()
    assert town.sweep.once().launched == 1
    assert town.sweep.once().launched == 0
    assert town.launcher.names == [f"r-{run_id}-1"]
    assert (town.states(run_id), town.attempts(run_id)) == (["launching"], [(1, "launching", None)])
    lease = town.claim(run_id)
    assert lease.attempt == 1
    assert town.seen(run_id).attempts[0].external_id == f"id-r-{run_id}-1"


@pytest.mark.promise("P4")
def test_sweeps_side_by_side_launch_each_run_once(town: Town) -> None:
    town.define(overlap="allow")
    runs = [town.record() for _ in range(30)]
    launchers = [Pretender() for _ in range(6)]

    def sweep(launcher: Pretender) -> None:
        with closing(Sweep(town.session.settings, launcher, max_launching=100)) as own:
            own.once()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(sweep, launchers))
    names = [name for launcher in launchers for name in launcher.names]
    assert sorted(names) == sorted(f"r-{run_id}-1" for run_id in runs)


def test_only_so_many_are_starting_at_once(town: Town) -> None:
    town.define(overlap="allow")
    runs = [town.record() for _ in range(13)]
    assert town.sweep.once().launched == 10
    assert town.sweep.once().launched == 0
    town.claim(runs[0])
    assert town.sweep.once().launched == 1
    assert town.launcher.names[-1] == f"r-{runs[10]}-1"


@pytest.mark.promise("P7")
def test_runs_of_a_pipeline_and_key_take_turns(town: Town) -> None:
    town.define(overlap="queue_all", concurrency=2)
    first, second, third = [town.record() for _ in range(3)]
    assert town.sweep.once().launched == 2
    assert town.states(first, second, third) == ["launching", "launching", "queued"]
    assert isinstance(town.store.claim(third), Full)
    town.finish(town.claim(first))
    assert town.sweep.once().launched == 1
    assert town.launcher.names[-1] == f"r-{third}-1"


@pytest.mark.promise("P7")
def test_of_many_who_claim_runs_of_a_serial_pipeline_at_once_one_begins(town: Town) -> None:
    town.define()
    runs = [town.record() for _ in range(8)]

    def claim(run_id: str) -> str:
        with closing(PostgresRunStore(town.session.settings)) as store:
            return type(store.claim(run_id)).__name__

    with ThreadPoolExecutor(8) as threads:
        claims = sorted(threads.map(claim, runs))
    assert claims == [Claimed.__name__, *[Full.__name__] * 7]


def test_a_long_queue_of_one_pipeline_keeps_no_other_back(town: Town) -> None:
    town.define("a")
    town.define("b")
    for _ in range(20):
        town.record("a")
    last = town.record("b")
    assert town.sweep.once().launched == 2
    assert f"r-{last}-1" in town.launcher.names


@pytest.mark.promise("P5")
@pytest.mark.fault("D3")
def test_a_launch_that_failed_is_made_again_under_the_same_name(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.launcher.faults = [LaunchError("throttled"), RuntimeError("the reply was lost")]
    for _ in range(3):
        town.sweep.once()
        assert town.sweep.once().launched == 0  # not before its time
        town.ready(run_id)
    assert town.launcher.names == [f"r-{run_id}-1"] * 3
    assert town.states(run_id) == ["launching"]


@pytest.mark.promise("P5")
def test_a_run_that_cannot_be_launched_has_failed_after_the_deadline(town: Town) -> None:
    town.define()
    late, hopeless = town.record(), town.record(overlap="allow")
    town.launcher.faults = [LaunchError("no capacity"), LaunchError("no such cluster", permanent=True)]
    town.sweep.once()
    assert sorted(town.states(late, hopeless)) == ["failed", "queued"]
    waiting = late if town.states(late) == ["queued"] else hopeless
    town.change("failing_since = clock_timestamp() - interval '2 hours'", waiting)
    town.sweep.once()
    for run_id in (late, hopeless):
        run = town.seen(run_id).run
        assert (run.state, (run.error or {})["type"]) == (RunState.FAILED, "urn:cableway:error:launch_failed")
    assert {(town.seen(run_id).run.error or {})["detail"] for run_id in (late, hopeless)} == {
        "no capacity",
        "no such cluster",
    }


@pytest.mark.fault("H4")
def test_a_container_that_ended_before_it_began_is_launched_anew(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.sweep.once()
    town.change("launching_since = clock_timestamp() - interval '1 minute'", run_id)
    town.launcher.ended[f"id-r-{run_id}-1"] = LaunchStatus(LaunchState.ENDED, reason="CannotPullContainerError")
    assert town.sweep.once().gone == 1
    assert town.states(run_id) == ["queued"]
    assert town.attempts(run_id) == [(1, "failed", "the container did not begin: CannotPullContainerError")]
    town.ready(run_id)
    assert town.sweep.once().launched == 1
    assert town.launcher.names[-1] == f"r-{run_id}-2"
    town.change("launching_since = clock_timestamp() - interval '1 hour'", run_id)
    town.change("failing_since = clock_timestamp() - interval '2 hours'", run_id)
    town.sweep.once()
    run = town.seen(run_id).run
    assert (run.state, (run.error or {})["type"]) == (RunState.FAILED, "urn:cableway:error:launch_failed")
    assert [each[:2] for each in town.attempts(run_id)] == [(1, "failed"), (2, "failed")]


def test_a_container_whose_settings_are_wrong_is_not_tried_again(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.sweep.once()
    town.change("launching_since = clock_timestamp() - interval '1 minute'", run_id)
    town.launcher.ended[f"id-r-{run_id}-1"] = LaunchStatus(LaunchState.ENDED, 78)
    town.sweep.once()
    assert (town.states(run_id), town.seen(run_id).run.exit_code) == (["failed"], 78)


@pytest.mark.promise("P16")
@pytest.mark.fault("B6")
def test_a_lease_that_ran_out_leads_to_the_next_attempt_or_the_end(town: Town) -> None:
    town.define(attempts=2)
    run_id = town.record()
    town.sweep.once()
    first = town.claim(run_id)
    town.expire(run_id)
    town.launcher.ended[f"id-r-{run_id}-1"] = LaunchStatus(LaunchState.ENDED, 137)
    assert town.sweep.once().gone == 1
    assert (town.states(run_id), town.attempts(run_id)) == (["queued"], [(1, "crashed", "oom")])
    assert town.seen(run_id).attempts[0].exit_code == 137
    assert town.launcher.names == [f"r-{run_id}-1"]  # it waits
    with pytest.raises(LeaseLostError):
        town.finish(first)
    assert town.states(run_id) == ["queued"]
    town.ready(run_id)
    town.sweep.once()
    assert town.launcher.names[-1] == f"r-{run_id}-2"
    town.claim(run_id)
    town.expire(run_id)
    town.sweep.once()
    run = town.seen(run_id).run
    assert (run.state, (run.error or {})["type"]) == (RunState.CRASHED, "urn:cableway:error:crashed")


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("ending", "code", "problem", "after"),
    [
        (RunState.INTERRUPTED, 143, None, "queued"),
        (RunState.FAILED, 3, {"retryable": True}, "queued"),
        (RunState.FAILED, 1, {"retryable": False}, "queued"),
        (RunState.FAILED, 3, {"retryable": False}, "failed"),
        (RunState.TIMED_OUT, 124, {"retryable": True}, "timed_out"),
    ],
)
def test_what_may_pass_is_tried_again(
    town: Town, ending: RunState, code: int, problem: dict[str, object] | None, after: str
) -> None:
    town.define(attempts=2)
    run_id = town.record()
    for expected in (after, ending.value if after == "queued" else after):
        lease = town.claim(run_id)
        town.finish(lease, ending, code, problem=problem)
        assert town.states(run_id) == [expected]
        town.finish(lease, ending, code, problem=problem)  # the answer was lost
        if expected == after != "queued":
            break
    assert {each[1] for each in town.attempts(run_id)} == {ending.value}


def test_a_run_that_waits_for_its_next_attempt_keeps_its_place(town: Town) -> None:
    town.define(attempts=3, overlap="queue_all")
    first, second = town.record(), town.record()
    town.sweep.once()
    town.finish(town.claim(first), RunState.INTERRUPTED, 143)
    assert town.states(first, second) == ["queued", "queued"]
    assert town.sweep.once().launched == 0
    assert isinstance(town.store.claim(second), Full)
    town.ready(first)
    town.sweep.once()
    assert town.launcher.names == [f"r-{first}-1", f"r-{first}-2"]


def test_the_timeout_is_over_all_attempts(town: Town) -> None:
    town.define(attempts=5, timeout_s=100)
    run_id = town.record()
    town.finish(town.claim(run_id), RunState.INTERRUPTED, 143)
    town.change("started_at = clock_timestamp() - interval '40 seconds'", run_id)
    claim = town.store.claim(run_id)
    assert isinstance(claim, Claimed)
    assert claim.run.time_left_s is not None
    assert 50 < claim.run.time_left_s <= 60
    town.expire(run_id)
    town.change("started_at = clock_timestamp() - interval '101 seconds'", run_id)
    town.sweep.once()
    run = town.seen(run_id).run
    assert (run.state, run.exit_code) == (RunState.TIMED_OUT, 124)


@pytest.mark.fault("D13")
def test_a_crashed_run_skips_no_tick_once_it_is_swept(town: Town) -> None:
    town.define(overlap="skip")
    town.claim(first := town.record())
    town.expire(first)
    with pytest.raises(OverlapError):
        town.record()
    town.sweep.once()
    assert town.record()


@pytest.mark.fault("H1")
def test_of_two_containers_of_a_run_one_works(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.sweep.once()
    lease = town.claim(run_id)
    assert isinstance(town.store.claim(run_id), Held)
    town.finish(lease)
    assert town.store.claim(run_id) == Ended(state=RunState.SUCCEEDED)


def test_a_cancelled_run_that_nobody_ends_is_ended_by_its_platform(town: Town) -> None:
    town.define(grace_s=5)
    run_id = town.record()
    town.sweep.once()
    lease = town.claim(run_id)
    assert cancel_run(town.session, run_id, by="a person") is RunState.CANCELLING
    assert town.store.beat(lease).cancel_requested
    assert town.sweep.once().stopped == 0
    town.change("cancel_asked_at = clock_timestamp() - interval '1 minute'", run_id)
    assert [town.sweep.once().stopped for _ in range(2)] == [1, 0]
    assert town.launcher.stopped == [f"id-r-{run_id}-1"]
    town.expire(run_id)
    town.sweep.once()
    run = town.seen(run_id).run
    assert (run.state, run.exit_code, (run.error or {})["type"]) == (
        RunState.CANCELLED,
        3,
        "urn:cableway:error:cancelled",
    )
    assert town.attempts(run_id)[0][1] == "crashed"


def test_a_run_cancelled_while_it_starts_never_begins(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.sweep.once()
    assert cancel_run(town.session, run_id) is RunState.CANCELLED
    assert cancel_run(town.session, run_id) is RunState.CANCELLED
    assert town.store.claim(run_id) == Ended(state=RunState.CANCELLED)
    assert town.sweep.once().stopped == 1
    assert town.launcher.stopped == [f"id-r-{run_id}-1"]


def test_a_launched_run_that_must_wait_is_launched_again_later(town: Town) -> None:
    town.define()
    run_id = town.record()
    town.sweep.once()
    town.store.hand_back(run_id)
    assert (town.states(run_id), town.attempts(run_id)) == (["queued"], [(1, "failed", "others had all places")])
    town.sweep.once()
    assert town.launcher.names[-1] == f"r-{run_id}-2"


def test_a_jittered_run_is_not_launched_before_its_time(town: Town) -> None:
    town.define()
    run_id = town.record(not_before=datetime.now(UTC) + timedelta(hours=1))
    assert town.sweep.once().launched == 0
    wait_s = town.sweep.next_launch_s()
    assert wait_s is not None
    assert 3500 < wait_s <= 3600
    town.ready(run_id)
    assert town.sweep.once().launched == 1


@pytest.mark.fault("B6")
def test_a_process_that_its_launcher_saw_killed_is_no_container_out_of_memory(town: Town) -> None:
    town.define(attempts=2)
    run_id = town.record()
    town.sweep.once()
    town.claim(run_id)
    town.expire(run_id)
    town.launcher.ended[f"id-r-{run_id}-1"] = LaunchStatus(LaunchState.ENDED, 137, signal="SIGKILL")
    assert town.sweep.once().gone == 1
    assert town.attempts(run_id) == [(1, "crashed", "killed by SIGKILL")]


def test_a_container_that_its_launcher_saw_fail_holds_nothing_any_more(town: Town, state: DatabaseSettings) -> None:
    launcher = Watcher()
    town.define(attempts=2)
    run_id = town.record()
    with closing(Sweep(state, launcher)) as sweep:
        sweep.once()
        lease = town.claim(run_id)
        launcher.on_failure(Launch(run_id, 2))  # of another attempt
        sweep.step(whole=False)
        assert town.states(run_id) == ["running"]
        launcher.ended[f"r-{run_id}-1:7"] = LaunchStatus(LaunchState.ENDED, 137)
        launcher.on_failure(Launch(run_id, 1))
        assert sweep.step(whole=False).gone == 1
        assert town.states(run_id) == ["queued"]
        assert town.attempts(run_id) == [(1, "crashed", "oom")]
        with pytest.raises(LeaseLostError):
            town.finish(lease)
        launcher.on_failure(Launch(run_id, 1))  # of an attempt that has ended
        assert sweep.step(whole=False).gone == 0
