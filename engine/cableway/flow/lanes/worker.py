"""One worker as its pool sees it: the sockets to it, what it has in its hands, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from cableway.flow.lanes import frames
from cableway.flow.lanes.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from cableway.flow.lanes.unit import Unit
    from cableway.flow.transfer import Leases

_READ_BYTES = 256 * 1024


class Body(Protocol):
    """What a worker lives in: a process, or an interpreter in a thread."""

    def watch(self, ended: Callable[[], None]) -> None:
        """Call *ended* on the running loop once the body has ended, by itself or not."""
        ...

    def kill(self) -> None:
        """End it now if that can be done, else have nothing more to do with it."""
        ...

    def at_rest(self, then: Callable[[], None]) -> None:
        """Call *then* when nothing of it runs any more: at once unless it had to be left running."""
        ...

    def reason(self) -> str:
        """How it ended: an exit code or a signal."""
        ...


class Lines:
    """The parent's ends of a worker's sockets.

    ``recall`` is the very socket that the worker reads its calls from, so that a call is read
    by the worker or taken back, never both.
    """

    def __init__(self) -> None:
        self.calls, self.recall = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.talk, self.child_talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.calls.settimeout(0.0)
        self.talk.settimeout(0.0)

    def close(self) -> None:
        """Close the parent's ends."""
        for end in (self.calls, self.recall, self.talk, self.child_talk):
            end.close()


class Worker:
    """A worker and the units it has been given, in the order in which it takes them."""

    def __init__(self, lines: Lines, body: Body, leases: Leases, generation: int) -> None:
        self.body = body
        self.leases = leases
        self.generation = generation
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.units: dict[int, Unit] = {}
        self.lent: set[int] = set()
        self.shares = 0
        self.doomed: str | None = None
        self.head_at_ns = 0
        self.timer: asyncio.TimerHandle | None = None
        self._joined = False
        self._lines = lines
        self._inlet = frames.Inlet()
        self._loop = asyncio.get_running_loop()
        self._backlog = bytearray()
        self._paused: asyncio.TimerHandle | None = None
        self._heard: Callable[[], None] | None = None

    @property
    def able(self) -> bool:
        """Whether it can be given units."""
        return self._joined and self.doomed is None and not self.ended.done()

    @property
    def head(self) -> Unit | None:
        """The unit that it works on, or is about to."""
        return next(iter(self.units.values()), None)

    def join(self) -> None:
        """Its handler has loaded: from now on it takes units."""
        self._joined = True
        if not self.ready.done():
            self.ready.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Its handler cannot be loaded: whoever waits for `ready` gets *error*."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whether or not anybody waits for it

    def give(self, unit: Unit) -> bool:
        """Send *unit*; return False when the socket holds no more for now."""
        parcel = unit.parcel
        freed = self.leases.freed()
        frame = parcel.frame(frames.CALL, unit.seq, a=unit.shares)
        frame.freed = freed
        try:
            self._lines.calls.send(frame.encode())
        except (BlockingIOError, OSError):
            self.leases.untold(freed)
            return False
        if not self.units:
            self.head_at_ns = monotonic_ns()
        self.units[unit.seq] = unit
        self.lent.update(parcel.blocks)
        return True

    def take_back(self, most: int) -> list[Unit]:
        """Return up to *most* units that the worker has not begun; it will not see them any more."""
        taken: list[Unit] = []
        while len(taken) < most:
            try:
                packet = self._lines.recall.recv(frames.PACKET_BYTES, socket.MSG_DONTWAIT)
            except (BlockingIOError, OSError):
                break
            found = frames.decode(packet) if packet else None
            if found is None:
                break
            self.leases.untold(found[0].freed)
            unit = self.units.pop(found[0].seq, None)
            if unit is not None:
                self.lent.difference_update(unit.parcel.blocks)
                taken.append(unit)
        return taken

    def post(self, frame: Frame) -> None:
        """Send a message beside the calls; it waits here when the worker does not read."""
        data = frame.encode()
        if not self._backlog:
            with contextlib.suppress(BlockingIOError):
                sent = self._send(data)
                data = data[sent:]
        if data:
            if not self._backlog:
                self._loop.add_writer(self._lines.talk, self._flush)
            self._backlog += data

    def listen(self, heard: Callable[[], None]) -> None:
        """Call *heard* whenever there is something to `read`."""
        self._heard = heard
        self._loop.add_reader(self._lines.talk, heard)

    def rest(self, delay_s: float) -> None:
        """Do not listen for *delay_s*: what arrives meanwhile is read together."""
        if self._paused is None and not self.ended.done():
            self._loop.remove_reader(self._lines.talk)
            self._paused = self._loop.call_later(delay_s, self._resume)

    def read(self) -> list[Frame]:
        """Return the messages that are here."""
        heard: list[Frame] = []
        while True:
            try:
                piece = self._lines.talk.recv(_READ_BYTES)
            except (BlockingIOError, OSError):
                return heard
            heard += self._inlet.feed(piece)
            if not piece:
                self._loop.remove_reader(self._lines.talk)
            if len(piece) < _READ_BYTES:
                return heard

    def dismiss(self) -> None:
        """Let the worker end when it has done what it was given."""
        self._lines.calls.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the sockets and timers; the body has ended, or is abandoned."""
        for timer in (self._paused, self.timer):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._lines.talk)
        self._loop.remove_writer(self._lines.talk)
        self._lines.close()
        self.leases.close()

    def _resume(self) -> None:
        self._paused = None
        if self._heard is not None:
            self._loop.add_reader(self._lines.talk, self._heard)

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._backlog[: self._send(self._backlog)]
        if not self._backlog:
            self._loop.remove_writer(self._lines.talk)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._lines.talk.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return len(data)  # it has ended, which is noticed elsewhere
