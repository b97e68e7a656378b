"""
Signed webhooks of 1 KiB over 64 connections, as fast as they are answered.

Arguments: port, seconds, most requests, first number. It ends when the time is up, the requests are used up, or
the server is gone; the last line says what was answered. A request that got no answer is named among the lost.
"""

from __future__ import annotations

import base64
import hmac
import json
import select
import socket
import sys
import time
from statistics import median

CONNECTIONS = 64
SECRET = b"0123456789abcdef01234567"
BODY_BYTES = 1024
HEAD = (
    b"POST /hooks/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"webhook-id: msg_%d\r\nwebhook-timestamp: %d\r\nwebhook-signature: v1,%s\r\n\r\n"
)


def request(number: int, now_s: int) -> bytes:
    """The webhook of this number: the same id and body whenever it is made."""
    body = b'{"day": "2026-01-31", "count": %d, "text": "%s"}'
    body %= (number, b"x" * (BODY_BYTES - len(body % (number, b""))))
    signature = hmac.digest(SECRET, b"msg_%d.%d.%s" % (number, now_s, body), "sha256")
    return HEAD % (len(body), number, now_s, base64.b64encode(signature)) + body


class Load:
    """The connections and what they were answered."""

    def __init__(self, port: int, most: int, first: int) -> None:
        now_s = int(time.time())
        self.requests = [request(first + number, now_s) for number in range(most)]
        self.first = first
        self.next = 0
        self.answers: dict[int, int] = {}
        self.latencies_s: list[float] = []
        self.asked: dict[int, tuple[int, float]] = {}
        self.partial: dict[int, bytes] = {}
        self.poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[connection.fileno()] = connection
            self.poll.register(connection.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> float:
        """Send until the time is up; seconds that it took."""
        began = time.perf_counter()
        until = began + seconds
        for handle in list(self.sockets):
            self._send(handle)
        while self.asked:
            for handle, _ in self.poll.poll(10):
                self._answered(handle, is_over=time.perf_counter() > until)
        return time.perf_counter() - began

    def _send(self, handle: int) -> None:
        if self.next < len(self.requests):
            number, self.next = self.next, self.next + 1
            self.asked[handle] = (number, time.perf_counter())
            try:
                self.sockets[handle].sendall(self.requests[number])
            except OSError:
                self._gone(handle)

    def _answered(self, handle: int, *, is_over: bool) -> None:
        try:
            answer = self.sockets[handle].recv(65_536)
        except OSError:
            answer = b""
        if not answer or handle not in self.asked:
            self._gone(handle)
            return
        self.partial[handle] = answer = self.partial.get(handle, b"") + answer
        if not answer.endswith(b"}"):
            return  # a head whose body is still to come
        del self.partial[handle]
        number, at_s = self.asked.pop(handle)
        self.latencies_s.append(time.perf_counter() - at_s)
        self.answers[self.first + number] = int(answer[9:12])
        if not is_over:
            self._send(handle)

    def _gone(self, handle: int) -> None:
        self.asked.pop(handle, None)
        self.poll.unregister(handle)
        self.sockets.pop(handle).close()


def main() -> None:
    port, seconds, most, first = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    load = Load(port, most, first)
    took_s = load.run(seconds)
    statuses = sorted(set(load.answers.values()))
    latencies = sorted(load.latencies_s) or [0.0]
    figures: dict[str, object] = {
        "per_s": round(len(load.answers) / took_s, 1),
        "p50_ms": round(median(latencies) * 1000, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99) - 1] * 1000, 2),
        "answered": len(load.answers),
        "sent": load.next,
        "statuses": {status: list(load.answers.values()).count(status) for status in statuses},
    }
    if len(sys.argv) > 5:
        figures["accepted"] = [number for number, status in load.answers.items() if status in {200, 202}]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
