"""
The catalogue of faults in the engine, each by its number: A1 to A20, B5, B7 and B10.

What another suite proves is marked there with the same number; the last test here counts them all.
Whatever happens, items add up, no process is left, and no thread but those that hang.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cableway import ExecutionType, StageConfig, WorkItem
from cableway.errors import DefinitionError, ItemError, WorkersLostError
from cableway.flow.bloc import StageBloc
from cableway.flow.config import Retry
from cableway.testing import run_stages
from cableway.testing.stages import StagesReport
from tests import need
from tests.contract import flow_handlers as handlers
from tests.contract.flow_lanes import LANES, check_lane, in_lane, stage
from tests.fixtures.clusters import local_cluster
from tests.unit.flow.harness import Lives, each, pipeline, same
from tests.unit.lanes.handlers import misbehave
from tests.unit.lanes.running import Fifo

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
HOUSE = Path(__file__).parents[2]
ASYNC, THREAD, PROCESS, INTERPRETER, DASK = LANES
OURS = [lane for lane in LANES if lane is not DASK]


def children() -> set[int]:
    """The living children of this process, but for the standard library's own tracker, which stays."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # that thread has ended
            found |= {int(pid) for pid in listing.read_text().split()}
    return {pid for pid in found if lives_and_works(Path(f"/proc/{pid}"))}


def lives_and_works(home: Path) -> bool:
    try:
        state = (home / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"resource_tracker" not in (home / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process that was not there before, and no thread but what is ending."""
    before, threads = children(), set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while time.monotonic() < until:
        left = [one.name for one in threading.enumerate() if one not in threads and not one.daemon]
        if not left and not children() - before:
            return
        threading.Event().wait(0.02)
    pytest.fail(f"left: processes {children() - before}, threads {threading.enumerate()}")


@pytest.fixture(params=OURS)
def lane(request: pytest.FixtureRequest) -> ExecutionType:
    check_lane(request.param)
    found: ExecutionType = request.param
    return found


def played(config: StageConfig, handler: Any, items: Any) -> StagesReport:
    """Let *items* through *config* and a second stage, and hold every life to the rules."""
    lives = Lives()
    report = run_stages([(config, handler), (StageConfig(name="end"), same)], items, observers=[lives])
    assert lives.faults == []
    return report


def alone(report: StagesReport, bystanders: int) -> BaseException:
    """The error of the one item that failed; all others succeeded."""
    assert report.error is None
    assert report.counts == {"failed": 1, "succeeded": bystanders}
    (error,) = report.errors
    return error


@pytest.mark.fault("A2")
@pytest.mark.promise("P12")
def test_a02_an_exception_of_two_arguments_fails_alone(lane: ExecutionType) -> None:
    error = alone(played(stage(lane), in_lane(lane, misbehave), [*range(10), "two arguments"]), 10)
    assert "cannot cross" in str(error)
    assert "TwoArgumentsError" in f"{type(error).__name__} {error}"


@pytest.mark.fault("A3")
@pytest.mark.promise("P12")
def test_a03_a_lock_cannot_come_home_from_a_child(lane: ExecutionType) -> None:
    report = played(stage(lane), in_lane(lane, misbehave), [*range(10), "lock"])
    if not lane.in_child:
        assert report.counts == {"succeeded": 11}
        return
    error = alone(report, 10)
    assert isinstance(error, ItemError)
    assert error.item_code == "unpicklable_result"


@pytest.mark.fault("A4")
@pytest.mark.promise("P12")
@pytest.mark.parametrize("fault", ["sys.exit", "keyboard"])
def test_a04_an_exit_is_the_items_failure_and_the_runner_lives(lane: ExecutionType, fault: str) -> None:
    error = alone(played(stage(lane), in_lane(lane, misbehave), [*range(10), fault]), 10)
    assert isinstance(error, SystemExit | KeyboardInterrupt | ItemError)


@pytest.mark.fault("A4")
@pytest.mark.promise("P12")
def test_a04_so_is_the_end_of_its_process() -> None:
    """Only in a process of its own: elsewhere it would end this one, which nothing in it can prevent."""
    error = alone(played(stage(PROCESS), misbehave, [*range(10), "os._exit"]), 10)
    assert isinstance(error, ItemError)
    assert error.item_code == "worker_died"
    assert "exit code 3" in str(error)


@pytest.mark.fault("A6")
async def test_a06_what_blocks_the_loop_is_named_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "cableway.flow")
    beats: list[float] = []
    over = threading.Event()

    def beat() -> None:  # as the heartbeat of a run: a thread of its own
        while not over.wait(0.02):
            beats.append(time.monotonic())

    async def blocks(item: WorkItem) -> WorkItem:
        if item.data == 1:
            time.sleep(2.5)  # noqa: ASYNC251 - the fault
        return item

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        results = await pipeline([(stage(ASYNC), blocks)], range(3), loop_blocked_after_s=1).run()
    finally:
        over.set()
        heart.join()
    assert len(results) == 3
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("pipeline: loop_blocked: the event loop has stood still for 1 s")
    assert "in blocks" in told
    assert "time.sleep(2.5)" in told
    assert max(after - before for before, after in pairwise(beats)) < 2.3


@pytest.mark.fault("A6")
async def test_a06_a_loop_that_runs_is_not_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    await pipeline([(stage(ASYNC), same)], range(2000), loop_blocked_after_s=5.0).run()
    assert caplog.text == ""
    for thread in threading.enumerate():
        if thread.name == "cableway-watchdog":
            thread.join(5)
    assert threading.active_count() <= before


@pytest.mark.fault("A10")
def test_a10_what_does_not_load_in_an_interpreter_is_refused_before_the_first_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_lane(INTERPRETER)
    need.module("numpy")
    (tmp_path / "sums_with_numpy.py").write_text(
        "import numpy\n\ndef total(job_id, data):\n    return numpy.sum(data)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import importlib

    report = played(stage(INTERPRETER), importlib.import_module("sums_with_numpy").total, [1, 2])
    assert isinstance(report.error, DefinitionError)
    assert report.error.exit_code == 78
    assert "sums_with_numpy" in str(report.error)
    assert "interpreter lane" in str(report.error)
    assert "numpy does not load in a subinterpreter" in str(report.error)
    assert set(report.counts) <= {"cancelled"}


SCRIPT_HEAD = """
import asyncio, itertools, os, resource, sys, threading, time
from cableway import ETLPipeline, ETLPipelineConfig, StageConfig
from tests.unit.lanes import handlers


def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


async def same(item):
    return item
"""


def script(body: str, *arguments: str, within_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run *body* as a process of its own, which must end in time."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT_HEAD + textwrap.dedent(body), *arguments],
        cwd=HOUSE,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


@pytest.mark.fault("A13")
@pytest.mark.promise("P14")
def test_a13_a_fast_source_before_a_slow_sink_takes_no_memory() -> None:
    done = script(
        """
        async def slow(item):
            await asyncio.sleep(0.0005)

        async def main():
            names = [("a", 5), ("slow", 2)]
            stages = [StageConfig(name=name, workers=workers, queue_size=100) for name, workers in names]
            config = ETLPipelineConfig(stages=stages, stats_interval_seconds=0, enable_tracking=False)
            made = ETLPipeline(config, (bytes(10_000) for _ in itertools.count()))
            made.register_stage_handler("a", same)
            made.register_stage_handler("slow", slow)
            await made.start()
            await asyncio.sleep(0.7)
            early = rss()
            await asyncio.sleep(2)
            late = rss()
            await made.cancel()
            await made.run()
            print((await made.get_pipeline_stats())["completed_items"], early, late)

        asyncio.run(main())
        """
    )
    assert done.returncode == 0, done.stderr
    items, early, late = map(int, done.stdout.split())
    assert items > 100
    assert late < early * 1.1


@pytest.mark.promise("P14")
@pytest.mark.parametrize(
    "many", [200_000, pytest.param(1_000_000, marks=[pytest.mark.chaos, pytest.mark.timeout(600)])]
)
def test_many_items_take_hardly_more_memory_than_few(many: int) -> None:
    body = """
    async def main():
        stages = [StageConfig(name=name, workers=10) for name in "abc"]
        config = ETLPipelineConfig(stages=stages, stats_interval_seconds=0, enable_tracking=False)
        made = ETLPipeline(config, range(int(sys.argv[1])))
        for stage in stages:
            made.register_stage_handler(stage.name, same)
        await made.run()
        assert (await made.get_pipeline_stats())["completed_items"] == int(sys.argv[1])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    asyncio.run(main())
    """
    peaks: list[int] = []
    for items in (10_000, many):
        done = script(body, str(items), within_s=300)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] <= peaks[0] * 1.2


@pytest.mark.fault("A15")
@pytest.mark.promise("P14")
@pytest.mark.parametrize(
    "children_",
    [30_000, pytest.param(1_000_000, marks=[pytest.mark.chaos, pytest.mark.timeout(600)])],
)
async def test_a15_one_item_becomes_very_many_through_queues_of_one(children_: int) -> None:
    async def many(item: WorkItem) -> AsyncIterator[int]:
        for number in range(children_):
            yield number

    stages = [
        (StageConfig(name=name, workers=1, queue_size=1), handler) for name, handler in (("a", many), ("b", same))
    ]
    made = pipeline(stages, ["root"], enable_tracking=False, keep_data=False)
    await made.run()
    assert (await made.get_pipeline_stats())["completed_items"] == children_ + 1


@pytest.mark.fault("A15")
def test_a15_so_does_a_childs_generator(lane: ExecutionType) -> None:
    report = played(stage(lane, workers=1, queue_size=1), in_lane(lane, handlers.many), [2_000])
    assert report.counts == {"succeeded": 2_001}


@pytest.mark.fault("A16")
async def test_a16_a_slow_bloc_beside_fast_ones_holds_up_nothing_but_itself() -> None:
    async def slow(item: WorkItem) -> int:
        await asyncio.sleep(0.002)
        return int(item.data)

    lives = Lives()
    config = StageConfig(name="only", workers=2, queue_size=1, retry=Retry(attempts=2, initial_s=0))
    made = pipeline(
        [(config, same), (StageConfig(name="end", workers=1, queue_size=1), same)], range(50), observers=[lives]
    )
    blocs = [
        StageBloc(name="fast", handler=each(lambda data: data)),
        StageBloc(name="slow", handler=slow),
        StageBloc(name="thread", handler=in_lane(THREAD, handlers.same), execution_type=THREAD),
        StageBloc(name="fails", handler=each(lambda data: 1 // (data % 10))),
    ]
    made.register_stage_blocs("only", blocs, lambda _, results: dict(results))
    async with asyncio.timeout(20):
        await made.run()
    assert lives.ends == {"succeeded": 45, "failed": 5}
    assert lives.faults == []


@pytest.mark.fault("A18")
async def test_a18_a_task_that_a_handler_left_behind_holds_up_nothing() -> None:
    async def leaves(item: WorkItem) -> WorkItem:
        asyncio.get_running_loop().create_task(asyncio.sleep(3600))  # the fault
        return item

    async with asyncio.timeout(10):
        results = await pipeline([(stage(ASYNC), leaves)], range(3)).run()
    assert len(results) == 3
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.fault("A18")
def test_a18_a_thread_that_a_handler_left_behind_is_told_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(
        textwrap.dedent(
            """
            import threading, time
            from dataclasses import dataclass
            from cableway import TransformerBloc

            @dataclass(frozen=True, slots=True, kw_only=True)
            class Nothing:
                pass

            class Leave(TransformerBloc):
                bloc_type = "leave"
                summary = "Leaves a thread behind."
                Config = Nothing
                example = {}
                frames = None

                def transform(self, context):
                    threading.Thread(target=time.sleep, args=(3600,), name="straggler", daemon=False).start()
                    return context.input()
            """
        )
    )
    (tmp_path / "rows.csv").write_text("a\n1\n2\n")
    (tmp_path / "p.yaml").write_text(
        textwrap.dedent(
            """
            name: p
            stages:
              - {name: load, blocs: [{name: rows, bloc_type: csv_loader, config: {file_path: rows.csv}}]}
              - {name: work, blocs: [{name: leave, bloc_type: leave}]}
            """
        )
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "cableway", "run", "--file", "p.yaml"],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(tmp_path), "CABLEWAY_BLOCS": "leaving"},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "straggler" in done.stderr


@pytest.mark.fault("A19")
async def test_a19_what_a_handler_does_to_its_data_later_stays_in_the_child() -> None:
    payload = {"list": [1]}
    item = WorkItem(payload)
    await pipeline([(stage(PROCESS), handlers.grows_later)], [item]).run()
    assert payload == {"list": [1]}
    assert item.data == {"list": [1, 2]}


@dataclass(frozen=True)
class ChildPlan:
    """Stages in children, what each does with which item, and when the run is ended."""

    lanes: tuple[ExecutionType, ...]
    words: tuple[str, ...]
    workers: int
    queue_size: int
    attempts: int
    end: str
    after: int


RESTARTS = StageConfig(name="any").pool_restarts
WORDS = ("keep", "keep", "drop", "raise", "raise once", "lock", "sys.exit", "kill once")


@st.composite
def child_plans(draw: st.DrawFn) -> ChildPlan:
    lanes = [PROCESS, INTERPRETER] if sys.version_info >= (3, 14) else [PROCESS]
    return ChildPlan(
        lanes=tuple(draw(st.lists(st.sampled_from([*lanes, THREAD]), min_size=1, max_size=2))),
        words=tuple(draw(st.lists(st.sampled_from(WORDS), max_size=12))),
        workers=draw(st.integers(1, 2)),
        queue_size=draw(st.sampled_from([1, 3])),
        attempts=draw(st.integers(1, 2)),
        end=draw(st.sampled_from(["drain", "drain", "stop", "cancel"])),
        after=draw(st.integers(0, 6)),
    )


async def drive(plan: ChildPlan, lives: Lives) -> None:
    retry = Retry(attempts=plan.attempts, initial_s=0)
    stages = [
        (
            stage(lane, name=f"s{at}", workers=plan.workers, queue_size=plan.queue_size, retry=retry),
            in_lane(lane, handlers.in_any_way if lane is PROCESS else handlers.in_most_ways),
        )
        for at, lane in enumerate(plan.lanes)
    ]
    made = pipeline(stages, list(plan.words), observers=[lives])

    async def after_some(result: Any) -> None:
        if sum(lives.ends.values()) >= plan.after:
            await (made.stop() if plan.end == "stop" else made.cancel())

    if plan.end != "drain":
        made.add_completion_callback(after_some)
    async with asyncio.timeout(60):
        try:
            await made.run()
        except WorkersLostError:  # a pool is made anew so often and no more
            assert plan.words.count("kill once") > RESTARTS


@pytest.mark.fault("A20")
@pytest.mark.promise("P10")
@settings(max_examples=10, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(plan=child_plans())
def test_a20_items_add_up_whatever_happens_in_children(plan: ChildPlan) -> None:
    lives = Lives()
    asyncio.run(drive(plan, lives))
    assert lives.faults == []


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.fault("A20")
@settings(max_examples=1_000, deadline=None, suppress_health_check=CHECKS)
@given(plan=child_plans())
def test_a20_items_add_up_in_children_a_thousand_times(plan: ChildPlan) -> None:
    lives = Lives()
    asyncio.run(drive(plan, lives))
    assert lives.faults == []


@pytest.mark.fault("B5")
@pytest.mark.promise("P12")
async def test_b05_a_killed_worker_costs_no_item(tmp_path: Path) -> None:
    lives = Deaths()
    begun = Fifo(tmp_path / "begun")
    made = pipeline([(stage(PROCESS), handlers.appear_once_then_wait)], [begun.path, *range(10)], observers=[lives])
    run = asyncio.create_task(made.run())
    os.kill(await begun.heard(), signal.SIGKILL)
    async with asyncio.timeout(20):
        await run
    assert lives.ends == {"succeeded": 11}
    assert lives.deaths == ["signal 9 (SIGKILL)"]
    assert lives.faults == []


@pytest.fixture
def own_cluster(nothing_is_left: None) -> Iterator[str]:
    with local_cluster() as address:
        yield address


@pytest.mark.fault("B5")
@pytest.mark.promise("P12")
async def test_b05_a_killed_worker_of_a_cluster_costs_no_item(own_cluster: str, tmp_path: Path) -> None:
    lives = Deaths()
    begun = Fifo(tmp_path / "begun")
    stages = [(stage(DASK, own_cluster), handlers.appear_once_then_wait)]
    made = pipeline(stages, [begun.path, *range(10)], observers=[lives])
    run = asyncio.create_task(made.run())
    os.kill(await begun.heard(), signal.SIGKILL)
    async with asyncio.timeout(30):
        await run
    assert lives.ends == {"succeeded": 11}
    assert len(lives.deaths) <= 1  # what a worker says of a unit's start may die with it
    assert lives.faults == []


class Deaths(Lives):
    def __init__(self) -> None:
        super().__init__()
        self.deaths: list[str] = []

    def worker_died(self, stage: str, bloc: str, reason: str, jobs: Any) -> None:
        self.deaths.append(reason)


@pytest.mark.fault("B7")
async def test_b07_a_killed_runner_leaves_no_child(tmp_path: Path) -> None:
    """Whatever its stages: processes that work, processes that wait, threads, interpreters."""
    begun = Fifo(tmp_path / "begun")
    body = """
    async def main():
        lanes = ["process", "process", *(["interpreter"] if sys.version_info >= (3, 14) else []), "thread"]
        stages = [StageConfig(name=f"s{n}", execution_type=lane, workers=2) for n, lane in enumerate(lanes)]
        made = ETLPipeline(ETLPipelineConfig(stages=stages, stats_interval_seconds=0), [sys.argv[1]])
        for n, lane in enumerate(lanes):
            made.register_stage_handler(f"s{n}", handlers.appear_then_nap if lane != "thread" else print)
        await made.run()

    asyncio.run(main())
    """
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT_HEAD + textwrap.dedent(body),
        begun.path,
        cwd=HOUSE,
        env={**os.environ, "PYTHONPATH": str(HOUSE), "CABLEWAY_TEST_B7": str(tmp_path)},
    )
    try:
        await begun.heard()
        theirs = marked(str(tmp_path)) - {runner.pid}
        assert len(theirs) >= 4
    finally:
        runner.kill()
        await runner.wait()
    async with asyncio.timeout(5):
        while marked(str(tmp_path)):  # noqa: ASYNC110 - no event tells of the end of somebody else's child
            await asyncio.sleep(0.05)


def marked(mark: str) -> set[int]:
    """The processes whose environment carries *mark*."""
    found: set[int] = set()
    for home in Path("/proc").glob("[0-9]*"):
        try:
            if f"CABLEWAY_TEST_B7={mark}".encode() in (home / "environ").read_bytes().split(b"\0"):
                found.add(int(home.name))
        except OSError:
            continue
    return found


CATALOGUE = {"A": 20, "B": 13, "C": 18, "D": 15, "E": 26, "F": 15, "G": 9, "H": 10}
"""How many faults each letter has."""


def test_every_fault_of_the_engine_the_job_and_its_database_has_a_test() -> None:
    marks: dict[str, list[str]] = {}
    for path in sorted((HOUSE / "tests").rglob("test_*.py")):
        for found in re.findall(r"mark\.fault\(([^)]*)\)", path.read_text(encoding="utf-8")):
            for number in re.findall(r"\"(\w+)\"", found):
                marks.setdefault(number, []).append(path.name)
    known = {f"{letter}{number}" for letter, count in CATALOGUE.items() for number in range(1, count + 1)}
    ours = {fault for fault in known if fault[0] in "AB" or fault in {f"C{number}" for number in range(1, 15)}}
    assert sorted(ours - set(marks)) == []
    assert sorted(set(marks) - known) == []
