"""Ctrl-C in front of `cableway run` is the job's to answer."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cableway_handlers.cli.processes import signals_passed_on
from cableway_handlers.launch import LocalLauncher


class StoppedLauncher(LocalLauncher):
    def __init__(self) -> None:
        super().__init__(Path("unused"), environment={})
        self.stopped: list[str] = []

    def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
        self.stopped.append(external_id)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_job_and_not_the_command(number: signal.Signals) -> None:
    launcher, before = StoppedLauncher(), signal.getsignal(number)
    with signals_passed_on(lambda: launcher.stop("r-1-1:1"), "stopping"):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert launcher.stopped == ["r-1-1:1"] * 2
    assert signal.getsignal(number) is before
