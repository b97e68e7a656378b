"""Launches in the background: bounded, and a failure never reaches who asked."""

from __future__ import annotations

import logging
import threading

import pytest

from cableway_handlers.launch import Launch, LaunchError, LaunchState, LaunchStatus
from cableway_handlers.launch.pending import PendingLaunches


class Gated:
    """A launcher that waits for its gate, and fails for the runs in *broken*."""

    def __init__(self, *, broken: dict[str, Exception] | None = None) -> None:
        self.broken = broken or {}
        self.gate = threading.Event()
        self.started = threading.Semaphore(0)
        self.launched: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def launch(self, launch: Launch) -> str:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        assert self.gate.wait(20)
        with self._lock:
            self.at_once -= 1
        if launch.run_id in self.broken:
            raise self.broken[launch.run_id]
        self.launched.append(launch.run_id)
        return launch.name

    def status(self, external_id: str) -> LaunchStatus:
        return LaunchStatus(LaunchState.UNKNOWN)

    def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
        pass


def test_only_so_many_are_launched_at_once_and_only_so_many_wait() -> None:
    launcher = Gated()
    pending = PendingLaunches(launcher, max_launching=2, max_waiting=3)
    taken = [pending.add(Launch(str(number), 1)) for number in range(6)]
    assert taken == [True] * 5 + [False]
    for _ in range(2):
        assert launcher.started.acquire(timeout=20)
    launcher.gate.set()
    for _ in range(3):
        assert launcher.started.acquire(timeout=20)
    pending.close()
    assert launcher.most_at_once == 2
    assert sorted(launcher.launched) == ["0", "1", "2", "3", "4"]


@pytest.mark.promise("P5")
def test_a_failed_launch_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    launcher = Gated(broken={"throttled": LaunchError("too many requests"), "bug": ZeroDivisionError("by zero")})
    launcher.gate.set()
    pending = PendingLaunches(launcher, max_launching=1)
    with caplog.at_level(logging.WARNING):
        for run_id in ("throttled", "bug", "good"):
            assert pending.add(Launch(run_id, 1))
        for _ in range(3):
            assert launcher.started.acquire(timeout=20)
        pending.close()
    assert launcher.launched == ["good"]
    assert "r-throttled-1 was not launched, its run stays queued: too many requests" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_closing_waits_for_what_is_under_way_and_takes_nothing_more() -> None:
    launcher = Gated()
    pending = PendingLaunches(launcher, max_launching=1)
    assert pending.add(Launch("first", 1))
    assert launcher.started.acquire(timeout=20)
    closing = threading.Thread(target=pending.close)
    closing.start()
    assert launcher.launched == []
    launcher.gate.set()
    closing.join(20)
    assert launcher.launched == ["first"]
    assert not pending.add(Launch("late", 1))
