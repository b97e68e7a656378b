"""
A worker from the inside: it takes one call after the other, runs the handler and sends what it gave.

Whatever the handler raises is caught here, `SystemExit` and `KeyboardInterrupt` included, and only
plain messages leave. The same loop serves a worker process and a worker interpreter.

Imported in workers, so it imports little.
"""

from __future__ import annotations

import os
import pickle
import sys
from select import POLLIN, poll
from time import monotonic_ns
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, cast

from cableway.flow.lanes import frames
from cableway.flow.lanes.failure import describe
from cableway.flow.lanes.frames import Frame
from cableway.flow.lanes.hooked import Hooked
from cableway.flow.lanes.loading import Plan, adopt, load
from cableway.flow.lanes.parcel import TooLargeError, place, receive
from cableway.flow.transfer import Arena, Leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ_AHEAD = 4
"""How many children of a stream a worker makes before anybody has asked for them."""


class Child:
    """One worker's life, from its plan to the end of its calls."""

    def __init__(self, calls: int, talk: int, leases: Leases, arena: Arena) -> None:
        self._calls = calls
        self._talk = talk
        self._leases = leases
        self._arena = arena
        self._inlet = frames.Inlet()
        self._heard: list[Frame] = []
        self._poll = poll()
        self._poll.register(talk, POLLIN)
        self._shared: dict[str, Any] = {}
        self._shares = 0
        self._asyncio: Any = None
        self._plan: Plan
        self._handler: Callable[..., Any]
        self._hooked: Hooked
        self._spoilt = False

    def serve(self) -> None:
        """Prepare, then work until the parent closes the calls or goes away."""
        try:
            if self._prepare():
                while packet := os.read(self._calls, frames.PACKET_BYTES):
                    found = frames.decode(packet)
                    if found is not None:
                        self._unit(found[0])
                    if self._spoilt:
                        self._send(Frame(frames.LEAVING))
                        break
                self._end()
        except (BrokenPipeError, ConnectionResetError, EOFError):
            return  # the parent has gone: nobody is left to tell

    def _prepare(self) -> bool:
        frame = self._listen()
        try:
            plan = self._plan = Plan(*pickle.loads(frame.body))
            adopt(plan)
            self._handler = load(plan, self._shared)
        except BaseException as error:
            self._send(Frame(frames.REFUSED, body=pickle.dumps(tuple(describe(error, "handler")), 5)))
            return False
        self._hooked = Hooked(plan)
        self._send(Frame(frames.READY, a=os.getpid()))
        return True

    def _unit(self, frame: Frame) -> None:
        seq = frame.seq
        for offset in frame.freed:
            self._arena.free(offset)
        started = monotonic_ns()
        try:
            while self._shares < frame.a:
                self._hear(self._listen())
            job_id, data, metadata, carrier = receive(frame, self._leases)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except BaseException as error:
            self._failed(seq, started, error, "unpicklable_input")
            return
        span = self._hooked.enter(carrier, job_id)
        started = monotonic_ns()
        try:
            value = self._called(job_id, data, metadata)
        except BaseException as error:
            del data
            self._hooked.leave(span, error)
            self._failed(seq, started, error)
            return
        del data
        if isinstance(value, GeneratorType):
            self._stream(seq, started, value, span)
            return
        finished = monotonic_ns()
        self._went_well(span)
        try:
            parcel = place(value, self._arena, self._plan.max_item_bytes)
        except BaseException as error:
            del value
            self._failed(seq, started, error, _result_code(error))
            return
        del value  # so that blocks it looks into are told as free with this very message
        self._send(parcel.frame(frames.RESULT, seq, a=started, b=finished))

    def _called(self, job_id: str, data: Any, metadata: Any) -> Any:
        handler = self._handler
        value = handler(job_id, data, metadata) if self._plan.wants_metadata else handler(job_id, data)
        if isinstance(value, CoroutineType):
            return self._runner().run(value)
        if isinstance(value, AsyncGeneratorType):
            return self._driven(cast("AsyncGeneratorType[Any, None]", value))
        return value

    def _runner(self) -> Any:
        if self._asyncio is None:
            import asyncio

            self._asyncio = asyncio.Runner()
        return self._asyncio

    def _driven(self, generator: AsyncGeneratorType[Any, None]) -> Iterator[Any]:
        async def step() -> Any:
            return await generator.__anext__()

        async def end() -> None:
            await generator.aclose()

        try:
            while True:
                try:
                    value = self._runner().run(step())
                except StopAsyncIteration:
                    return
                yield value
        finally:
            self._runner().run(end())

    def _failed(self, seq: int, started: int, error: BaseException, code: str | None = None) -> None:
        finished = monotonic_ns()
        self._spoilt = self._plan.isolated and _spoils(error)
        body = pickle.dumps(tuple(describe(error, code)), 5)
        error.__traceback__ = None  # its frames hold the item's data
        self._report()
        self._send(place(body, self._arena).frame(frames.FAILED, seq, a=started, b=finished))

    # Streams

    def _stream(self, seq: int, started: int, generator: Any, span: Any) -> None:
        """Send the generator's values, each when there is credit for it; the first few unasked."""
        self._send(Frame(frames.STREAM, seq, a=started))
        try:
            self._yielded(seq, generator)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except BaseException as error:
            self._hooked.leave(span, error)
            self._failed(seq, started, error, _result_code(error) if isinstance(error, _UnsendableError) else None)
            return
        self._went_well(span)
        self._send(Frame(frames.END, seq, a=started, b=monotonic_ns()))

    def _yielded(self, seq: int, generator: Any) -> None:
        credit = READ_AHEAD
        while True:
            while credit <= 0 or self._heard or self._poll.poll(0):
                frame = self._listen()
                if frame.seq == seq and frame.kind == frames.ABANDON:
                    generator.close()
                    return
                if frame.seq == seq and frame.kind == frames.CREDIT:
                    credit += frame.a
                else:
                    self._hear(frame)
            begun = monotonic_ns()
            try:
                value = next(generator)
            except StopIteration:
                return
            spent = monotonic_ns() - begun
            try:
                parcel = place(value, self._arena, self._plan.max_item_bytes)
            except BaseException as error:
                generator.close()
                raise _UnsendableError(str(error)) from error
            del value
            credit -= 1
            self._send(parcel.frame(frames.ITEM, seq, a=spent))

    # The hook

    def _went_well(self, span: Any) -> None:
        if span is not None:
            self._hooked.leave(span, None)
            self._report()

    def _report(self) -> None:
        try:
            if report := self._hooked.drained():
                self._send(place(report, self._arena).frame(frames.REPORT))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            self._hooked.forget()

    def _end(self) -> None:
        self._report()
        self._hooked.close()
        self._report()
        if self._asyncio is not None:
            self._asyncio.close()

    # Messages

    def _hear(self, frame: Frame) -> None:
        if frame.kind == frames.SHARE:
            name, value = receive(frame, self._leases)
            self._shared[name] = value
            self._shares += 1

    def _listen(self) -> Frame:
        while not self._heard:
            piece = os.read(self._talk, 65536)
            if not piece:
                raise EOFError
            self._heard = self._inlet.feed(piece)
        return self._heard.pop(0)

    def _send(self, frame: Frame) -> None:
        frame.freed = self._leases.freed()
        data = frame.encode()
        sent = os.write(self._talk, data)
        while sent < len(data):
            sent += os.write(self._talk, data[sent:])


class _UnsendableError(Exception):
    """A child of a stream cannot be sent."""


def _result_code(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, _UnsendableError) else error
    return "too_large" if isinstance(cause, TooLargeError) else "unpicklable_result"


def _spoils(error: BaseException) -> bool:
    """Whether what was tried may not be tried in an interpreter beside others: ending it, forking, daemon threads."""
    return not isinstance(error, Exception) or (isinstance(error, RuntimeError) and "interpreter" in str(error))


def _die_with(life: int) -> None:
    """Have the kernel kill this process when the other end of the pipe *life* closes, whatever it is doing."""
    import fcntl
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        # The parent decides. Unlike SIG_IGN, a handler is not passed on to programs that are started here.
        signal.signal(number, _let_parent_decide)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    gone = poll()
    gone.register(life, POLLIN)
    if gone.poll(0):
        os._exit(1)


def _let_parent_decide(number: int, frame: object) -> None:
    """Do nothing: signals that reach a whole group are for the parent."""


def main() -> None:
    """Be a worker process: its file descriptors are the arguments."""
    calls, talk, inbox, outbox, life = [int(number) for number in sys.argv[-5:]]
    _die_with(life)
    try:
        Child(calls, talk, Leases(inbox), Arena(outbox)).serve()
    finally:
        import atexit

        atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the process ends below, at once
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        # Threads that a handler left behind do not keep a worker alive.
        os._exit(0)
