from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cableway.errors import LeaseLostError, UnavailableError
from cableway.store.heartbeat import Heartbeat
from cableway.store.memory import MemoryRunStore
from cableway.store.port import Beat, Lease

SOON_S = 10.0


@dataclass
class Away(MemoryRunStore):
    """A store whose beats do what they are told; counts them."""

    answer: Callable[[int], Beat] = lambda _: Beat(cancel_requested=False)
    beats: int = 0
    beaten: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: threading.Event = field(default_factory=threading.Event)

    def beat(self, lease: Lease) -> Beat:
        self.beats += 1
        self.beaten.release()
        return self.answer(self.beats)

    def close(self) -> None:
        self.closed.set()


@dataclass
class Heard:
    lost: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: int = 0

    def heartbeat(self, store: MemoryRunStore, ttl_s: float) -> Heartbeat:
        def open_store() -> MemoryRunStore:
            self.opened += 1
            return store

        lease = Lease(run_id="r", attempt=1, token=1, ttl_s=ttl_s)
        return Heartbeat(open_store, lease, self.lost.set, self.cancelled.release)


def test_a_short_run_opens_nothing() -> None:
    heard = Heard()
    heartbeat = heard.heartbeat(Away(), ttl_s=60)
    heartbeat.start()
    heartbeat.stop()
    assert (heard.opened, heartbeat.lost) == (0, False)


def test_it_beats_on_one_store_until_it_is_stopped() -> None:
    store, heard = Away(), Heard()
    heartbeat = heard.heartbeat(store, ttl_s=0.2)
    heartbeat.start()
    for _ in range(4):
        assert store.beaten.acquire(timeout=SOON_S)
    heartbeat.stop()
    assert store.closed.wait(SOON_S)
    assert (heard.opened, heartbeat.lost) == (1, False)


def test_a_database_that_is_away_for_a_while_is_survived() -> None:
    def answer(number: int) -> Beat:
        if number in {2, 3}:
            raise UnavailableError("away")
        return Beat(cancel_requested=False)

    store, heard = Away(answer=answer), Heard()
    heartbeat = heard.heartbeat(store, ttl_s=2.0)
    heartbeat.start()
    for _ in range(5):
        assert store.beaten.acquire(timeout=SOON_S)
    heartbeat.stop()
    assert not heartbeat.lost


@pytest.mark.promise("P17")
@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_an_attempt_that_cannot_renew_its_lease_fences_itself_in_time(how: str) -> None:
    released = threading.Event()

    def answer(_: int) -> Beat:
        if how == "hangs":
            released.wait(SOON_S)
        raise UnavailableError("away")

    heard = Heard()
    begun = time.monotonic()
    heartbeat = heard.heartbeat(Away(answer=answer), ttl_s=0.6)
    heartbeat.start()
    assert heard.lost.wait(SOON_S)
    assert time.monotonic() - begun >= 0.45
    assert heartbeat.lost
    released.set()
    heartbeat.stop()


def test_a_lease_that_another_took_is_lost_at_once() -> None:
    def answer(_: int) -> Beat:
        raise LeaseLostError("taken")

    heard = Heard()
    begun = time.monotonic()
    heartbeat = heard.heartbeat(Away(answer=answer), ttl_s=8)
    heartbeat.start()
    assert heard.lost.wait(SOON_S)
    assert time.monotonic() - begun < 6
    heartbeat.stop()
    assert heartbeat.lost


def test_the_wish_to_cancel_is_told_once() -> None:
    store, heard = Away(answer=lambda _: Beat(cancel_requested=True)), Heard()
    heartbeat = heard.heartbeat(store, ttl_s=0.2)
    heartbeat.start()
    for _ in range(3):
        assert store.beaten.acquire(timeout=SOON_S)
    heartbeat.stop()
    assert heard.cancelled.acquire(timeout=SOON_S)
    assert not heard.cancelled.acquire(blocking=False)
    assert not heard.lost.is_set()
