"""Hundreds of callers that send a byte a second: they are cut off, and nobody else waits for them."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.integration.api.conftest import Database
from tests.integration.api.sending import webhook
from tests.integration.api.test_durability import Service
from tests.integration.api.test_hooks import HEAD

SLOW = 500
CLOSED_WITHIN_S = 30.0
REQUESTS = 200
ROUNDS = 3


@pytest.fixture
def service(stored: Database, tmp_path: Path) -> Iterator[Service]:
    service = Service(stored, tmp_path)
    yield service
    service.close()


class Drip:
    """Connections that send a byte each second: half of them of a head, the others of a body."""

    def __init__(self, url: httpx.URL, many: int) -> None:
        self._over = threading.Event()
        self._open: dict[socket.socket, int] = {}
        self.open_for_s: list[float] = []
        for number in range(many):
            connection = socket.create_connection((url.host, url.port or 0), timeout=20)
            head = HEAD.encode() + b"Content-Length: 1000\r\n\r\n"
            connection.sendall(head[:-4] + b"\r\nX-A: " if number % 2 else head)
            connection.setblocking(False)
            self._open[connection] = number
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    @property
    def open(self) -> int:
        return len(self._open)

    def ended(self, within_s: float) -> bool:
        """Whether the server has closed every one of them by then."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)

    def _go_on(self) -> None:
        with selectors.DefaultSelector() as looking:
            for connection in self._open:
                looking.register(connection, selectors.EVENT_READ)
            while self._open and not self._over.is_set():
                next_byte = time.monotonic() + 1
                while (left_s := next_byte - time.monotonic()) > 0 and self._open:
                    for key, _ in looking.select(left_s):
                        assert isinstance(key.fileobj, socket.socket)
                        self._read(key.fileobj, looking)
                for connection in tuple(self._open):
                    try:
                        connection.send(b"x")
                    except OSError:
                        self._let_go(connection, looking)
            for connection in tuple(self._open):
                connection.close()

    def _read(self, connection: socket.socket, looking: selectors.BaseSelector) -> None:
        try:
            said = connection.recv(65_536)
        except OSError:
            said = b""
        if not said:
            self._let_go(connection, looking)

    def _let_go(self, connection: socket.socket, looking: selectors.BaseSelector) -> None:
        looking.unregister(connection)
        connection.close()
        del self._open[connection]
        self.open_for_s.append(time.monotonic() - self._began)


def p99_s(service: Service) -> float:
    """The lowest of some rounds, for a busy machine adds and never takes."""
    found: list[float] = []
    for _ in range(ROUNDS):
        times: list[float] = []
        for _ in range(REQUESTS):
            request = webhook(service.url, id="same")  # so that one run is launched and not a thousand
            began = time.perf_counter()
            assert service.client.send(request).is_success
            times.append(time.perf_counter() - began)
        found.append(sorted(times)[int(REQUESTS * 0.99) - 1])
    return min(found)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.fault("E10")
def test_five_hundred_slow_senders_are_cut_off_and_others_hardly_wait(service: Service) -> None:
    p99_s(service)  # warm
    before_s = p99_s(service)
    with closing(Drip(httpx.URL(service.url), SLOW)) as drip:
        with_s = p99_s(service)
        began = time.monotonic()
        assert drip.ended(CLOSED_WITHIN_S), f"{drip.open} are open still"
        assert time.monotonic() - began < CLOSED_WITHIN_S
        assert max(drip.open_for_s) < CLOSED_WITHIN_S
        assert len(drip.open_for_s) == SLOW
    assert with_s < 2 * max(before_s, p99_s(service))
