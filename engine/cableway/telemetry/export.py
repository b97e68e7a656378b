"""
Spans on their way out: a bounded queue, one daemon thread, and an end that keeps to its deadline.

The flow's side of it is one append. Spans are built, encoded and posted in the thread. Whatever the
collector does, nothing here raises, and `SpanExporter.close` returns in time: what has not been
taken by then is counted as dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cableway.telemetry.otlp import Encode
from cableway.telemetry.record import SpanRecord
from cableway.telemetry.sender import Delivery, Sender
from cableway.telemetry.trail import ItemTrail

log = logging.getLogger("cableway.telemetry")

Cargo = ItemTrail | SpanRecord
Build = Callable[[ItemTrail], list[SpanRecord]]
Connect = Callable[[], tuple[Sender, Encode]]

QUEUE_BYTES = 64 * 1024 * 1024
"""Estimated bytes that may wait beside the number of spans."""
SPAN_BYTES = 400
"""About what a span of a trail weighs while it waits, its share of the readings and notes included."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of a run's spans. ``made`` is the sum of the other two."""

    made: int
    sent: int
    dropped: int
    reason: str = ""


class SpanExporter:
    """Sends spans in the background. `offer` and `close` are for the thread that runs the flow.

    *connect* is called in the thread, because finding out who we are loads the OpenTelemetry SDK.
    With ``wait_s`` the flow waits that long in all for room in a full queue before spans are dropped.
    """

    def __init__(
        self,
        connect: Connect,
        build: Build,
        *,
        queue_spans: int,
        batch_spans: int,
        delay_s: float,
        wait_s: float = 0.0,
    ) -> None:
        self._connect = connect
        self._build = build
        self._limit = max(1, min(queue_spans, QUEUE_BYTES // SPAN_BYTES))
        self._batch = max(1, min(batch_spans, self._limit))
        self._delay_s = delay_s
        self._wait_s = wait_s
        self._queue: deque[tuple[Cargo, int]] = deque()
        # Each counter has one writer, so no lock is needed: the first two the flow's thread, the others ours.
        self._made = 0
        self._entered = 0
        self._taken = 0
        self._sent = 0
        self._reason = ""
        self._filled = threading.Event()
        self._room = threading.Event()
        self._sender: Sender | None = None
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="cableway-spans", daemon=True)
        self._thread.start()

    def offer(self, cargo: Cargo) -> None:
        """Queue *cargo*; where there is no room it is dropped, or waited for."""
        count = cargo.span_count if isinstance(cargo, ItemTrail) else 1
        self._made += count
        waiting = self._entered - self._taken
        if waiting + count > self._limit and not self._waited(count):
            return
        self._queue.append((cargo, count))
        self._entered += count
        if waiting + count >= self._batch:
            self._filled.set()

    def close(self, last: SpanRecord | None, deadline_s: float) -> Exported:
        """Send *last* and what is queued; return after at most *deadline_s* seconds, whatever has become of it."""
        if last is not None:
            # At the front: without its root a trace is hard to read.
            self._made += 1
            self._queue.appendleft((last, 1))
            self._entered += 1
        deadline = time.monotonic() + deadline_s
        self._deadline = deadline
        self._filled.set()
        if self._sender is not None:
            self._sender.hurry(deadline)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._reason = self._reason or f"not delivered within {deadline_s:g} s"
            if self._sender is not None:
                self._sender.stop()
        dropped = self._made - self._sent
        exported = Exported(self._made, self._sent, dropped, self._reason if dropped else "")
        if dropped:
            log.warning("%d of %d spans were not delivered: %s", dropped, exported.made, self._reason or "queue full")
        return exported

    def _waited(self, count: int) -> bool:
        """Whether room came within what is left of the time that the flow may wait."""
        began = time.monotonic()
        while self._wait_s > 0:
            self._room.clear()
            self._filled.set()
            if self._entered - self._taken + count <= self._limit:
                return True
            self._room.wait(self._wait_s)
            now = time.monotonic()
            self._wait_s -= now - began
            began = now
        self._reason = self._reason or "queue full"
        return self._entered - self._taken + count <= self._limit

    def _run(self) -> None:
        try:
            sender, encode = self._connect()
        except Exception as error:
            self._reason = str(error)
            log.warning("spans are not exported: %s", error)
            self._discard()
            return
        self._sender = sender
        if self._deadline is not None:
            sender.hurry(self._deadline)
        while True:
            # Read first: whatever was queued before the deadline was set is then seen below.
            ending = self._deadline is not None
            if not ending:
                self._filled.wait(self._delay_s)
                self._filled.clear()
            while self._queue:
                self._post(sender, encode, *self._gather())
                if not ending and self._entered - self._taken < self._batch:
                    break
            if ending:
                sender.close()
                return

    def _discard(self) -> None:
        """There is nobody to send to: let everything go as it comes."""
        while self._deadline is None:
            self._filled.wait(self._delay_s)
            self._filled.clear()
            self._gather()

    def _gather(self) -> tuple[list[SpanRecord], int]:
        spans: list[SpanRecord] = []
        taken = 0
        while self._queue and taken < self._batch:
            cargo, count = self._queue.popleft()
            taken += count
            try:
                spans += self._build(cargo) if isinstance(cargo, ItemTrail) else [cargo]
            except Exception:
                log.debug("a span could not be built", exc_info=True)
        return spans, taken

    def _post(self, sender: Sender, encode: Encode, spans: Sequence[SpanRecord], taken: int) -> None:
        delivery = self._delivered(sender, encode, spans) if spans else Delivery(delivered=True)
        if delivery.delivered:
            self._sent += max(0, len(spans) - delivery.rejected)
        if delivery.reason:
            self._reason = delivery.reason
        self._taken += taken
        self._room.set()

    def _delivered(self, sender: Sender, encode: Encode, spans: Sequence[SpanRecord]) -> Delivery:
        try:
            return sender.post(encode(spans))
        except Exception as error:
            log.debug("a batch of spans could not be encoded", exc_info=True)
            return Delivery(delivered=False, reason=f"encoding: {type(error).__name__}")
