"""The wish that an attempt ends early wakes whoever waits meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from cableway.errors import InterruptedRunError, LeaseLostError
from cableway.running.stopping import Stop

LONG_S = 60.0


def test_who_waits_is_woken_by_a_reason_from_another_thread() -> None:
    stop = Stop()
    asking = threading.Timer(0.01, stop.ask, (LeaseLostError("gone"),))
    asking.start()
    began = time.monotonic()
    stop.wait(LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    assert stop.lost
    asking.join()
    stop.wait(LONG_S)  # at once: there is a reason
    assert time.monotonic() - began < LONG_S / 2


def test_who_waits_is_woken_by_a_signal() -> None:
    stop = Stop()

    def asked(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.ask(InterruptedRunError("a signal"))
        stop.ask(LeaseLostError("and more"))

    before = signal.signal(signal.SIGUSR2, asked)
    try:
        waker = threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR2))
        waker.start()
        began = time.monotonic()
        stop.wait(LONG_S)
        waker.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert time.monotonic() - began < LONG_S / 2
    assert stop.reason is not None


def test_who_waits_without_a_reason_goes_on_when_the_time_is_over() -> None:
    stop = Stop()
    stop.wait(0.01)
    assert stop.reason is None
