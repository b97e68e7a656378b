"""What every launcher keeps. A new launcher adds a bench to `BENCHES` and passes."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from cableway_handlers.launch import Launch, Launcher, LaunchState, LocalLauncher

DEADLINE_S = 20.0

JOB = """
import sys
folder, run_id = sys.argv[1:]
with open(f"{folder}/{run_id}.starts", "w") as starts:
    starts.write(".")
with open(f"{folder}/{run_id}.end") as end:
    sys.exit(int(end.read()))
"""


class Bench(Protocol):
    """A platform for one test, where a container runs until it is told its exit code."""

    def launcher(self) -> Launcher:
        """A launcher on this platform, as a service has one after each restart."""
        ...

    def prepare(self) -> Launch:
        """A launch for a run that is new to the platform."""
        ...

    def starts(self, launch: Launch, *, wait: bool = False) -> int:
        """How many containers began to work for this run since the last call; with *wait*, at least one."""
        ...

    def end(self, launch: Launch, exit_code: int) -> None:
        """Let the container of this run end."""
        ...

    def wait_for_end(self, external_id: str) -> None:
        """Return when the container has ended."""
        ...


class LocalBench:
    """Children report their start and learn their end through named pipes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pipes: dict[str, int] = {}

    def launcher(self) -> LocalLauncher:
        return LocalLauncher(
            self.folder / "launches",
            environment=os.environ,
            command=(sys.executable, "-S", "-c", JOB, str(self.folder)),
        )

    def prepare(self) -> Launch:
        launch = Launch(str(uuid4()), 1)
        for name in ("starts", "end"):
            os.mkfifo(self.folder / f"{launch.run_id}.{name}")
        self._pipes[launch.run_id] = os.open(self.folder / f"{launch.run_id}.starts", os.O_RDWR | os.O_NONBLOCK)
        return launch

    def starts(self, launch: Launch, *, wait: bool = False) -> int:
        pipe = self._pipes[launch.run_id]
        if wait:
            wait_until_readable(pipe)
        try:
            return len(os.read(pipe, 100))
        except BlockingIOError:
            return 0

    def end(self, launch: Launch, exit_code: int) -> None:
        (self.folder / f"{launch.run_id}.end").write_text(str(exit_code))

    def wait_for_end(self, external_id: str) -> None:
        try:
            handle = os.pidfd_open(int(external_id.rpartition(":")[2]))
        except ProcessLookupError:
            return
        try:
            wait_until_readable(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        launcher = self.launcher()
        for pid_file in (self.folder / "launches").glob("*.pid"):
            launcher.stop(f"{pid_file.stem}:{pid_file.read_text().strip()}", grace_s=0)
        for pipe in self._pipes.values():
            os.close(pipe)


def wait_until_readable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(DEADLINE_S * 1000), f"nothing happened within {DEADLINE_S} s"


BENCHES: list[Callable[[Path], LocalBench]] = [LocalBench]


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBench]:
    made: LocalBench = request.param(tmp_path)
    yield made
    made.close()


def assert_no_second_start(bench: Bench, launcher: Launcher, launch: Launch) -> None:
    """A doubled container would have begun before a later one of another run does."""
    later = bench.prepare()
    launcher.launch(later)
    assert bench.starts(later, wait=True) == 1
    bench.end(later, 0)
    assert bench.starts(launch) == 0


def test_names_follow_from_run_and_attempt_and_fit_every_platform() -> None:
    run_id = str(uuid4())
    assert Launch(run_id, 1).name == f"r-{run_id}-1"
    assert len(Launch(run_id, 10_000).name) <= 63


def test_a_launched_container_runs_and_ends(bench: Bench) -> None:
    launcher, launch = bench.launcher(), bench.prepare()
    external_id = launcher.launch(launch)
    assert bench.starts(launch, wait=True) == 1
    assert launcher.status(external_id).state is LaunchState.RUNNING
    bench.end(launch, 3)
    bench.wait_for_end(external_id)
    status = launcher.status(external_id)
    assert (status.state, status.exit_code) == (LaunchState.ENDED, 3)


@pytest.mark.promise("P4")
def test_the_same_launch_twice_starts_one_container(bench: Bench) -> None:
    launcher, launch = bench.launcher(), bench.prepare()
    first = launcher.launch(launch)
    assert launcher.launch(launch) == first
    assert bench.starts(launch, wait=True) == 1
    assert_no_second_start(bench, launcher, launch)
    bench.end(launch, 0)
    bench.wait_for_end(first)
    assert launcher.launch(launch) == first
    assert_no_second_start(bench, launcher, launch)


@pytest.mark.promise("P4")
def test_a_restarted_service_finds_its_containers_and_doubles_none(bench: Bench) -> None:
    launch = bench.prepare()
    first = bench.launcher().launch(launch)
    assert bench.starts(launch, wait=True) == 1
    again = bench.launcher()
    assert again.status(first).state is LaunchState.RUNNING
    assert again.launch(launch) == first
    assert_no_second_start(bench, again, launch)


def test_a_new_attempt_is_a_new_container(bench: Bench) -> None:
    launcher, launch = bench.launcher(), bench.prepare()
    first = launcher.launch(launch)
    assert bench.starts(launch, wait=True) == 1
    second = launcher.launch(Launch(launch.run_id, 2))
    assert second != first
    assert bench.starts(launch, wait=True) == 1


def test_a_stopped_container_ends_and_may_be_stopped_again(bench: Bench) -> None:
    launcher, launch = bench.launcher(), bench.prepare()
    external_id = launcher.launch(launch)
    assert bench.starts(launch, wait=True) == 1
    launcher.stop(external_id)
    bench.wait_for_end(external_id)
    status = launcher.status(external_id)
    assert (status.state, status.exit_code) == (LaunchState.ENDED, 143)
    launcher.stop(external_id)


def test_a_strange_id_is_unknown(bench: Bench) -> None:
    launcher = bench.launcher()
    for external_id in ("", "nothing", "r-1-1:x", "../etc/passwd:1", f"r-{uuid4()}-1:1"):
        assert launcher.status(external_id).state is LaunchState.UNKNOWN
