"""Who holds a connection and comes to no request is cut off; who asks, or waits for an answer, is not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cableway_handlers.api.laggards import Laggards


@dataclass
class Cycle:
    response_complete: bool = True


@dataclass
class Transport:
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class Connection:
    cycle: Cycle | None = None
    transport: Transport = field(default_factory=Transport)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def looked_for(connection: Connection, seconds: int, *, asks_every: int | None = None) -> bool:
    """Whether *connection* was cut off in that time, in which it begins a request every so often."""
    clock = Clock()
    laggards = Laggards(lambda: {connection}, head_s=5, clock=clock)
    for second in range(seconds):
        clock.now = float(second)
        if asks_every is not None and second % asks_every == 0:
            connection.cycle = Cycle()
        laggards.look()
    return connection.transport.aborted


@pytest.mark.fault("E10")
@pytest.mark.parametrize("cycle", [None, Cycle()])
def test_who_comes_to_no_request_is_cut_off(cycle: Cycle | None) -> None:
    assert not looked_for(Connection(cycle), 5)
    assert looked_for(Connection(cycle), 7)


def test_who_asks_now_and_then_or_waits_for_an_answer_is_not() -> None:
    assert not looked_for(Connection(), 60, asks_every=4)
    assert not looked_for(Connection(Cycle(response_complete=False)), 60)


def test_who_has_left_is_forgotten() -> None:
    clock, there = Clock(), [Connection()]
    laggards = Laggards(lambda: there, head_s=5, clock=clock)
    laggards.look()
    gone = there.pop()
    clock.now = 9
    assert laggards.look() == 0
    assert not gone.transport.aborted
