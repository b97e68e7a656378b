"""Handlers that the lanes' tests run in their workers. Light, so that every lane can load it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

prepared: list[str] = []


def same(job_id: str, data: Any) -> Any:
    return data


def double(job_id: str, data: Any) -> Any:
    return data * 2


def named(job_id: str, data: Any) -> str:
    return f"{job_id}={data}"


def kind_and_ends(job_id: str, data: Any) -> tuple[str, int, int, int]:
    return type(data).__name__, len(data), data[0], data[-1]


def spoil(job_id: str, data: bytearray) -> int:
    for position in range(0, len(data), 4096):
        data[position] = 255
    return len(data)


def nap(job_id: str, data: float) -> float:
    time.sleep(data)
    return data


def pid(job_id: str, data: Any) -> int:
    return os.getpid()


def pid_after(job_id: str, data: float) -> int:
    time.sleep(data)
    return os.getpid()


def with_metadata(job_id: str, data: Any, metadata: Mapping[str, Any]) -> Any:
    return job_id, data, dict(metadata)


def prepare() -> None:
    prepared.append("once")


def times_prepared(job_id: str, data: Any) -> int:
    return len(prepared)


def unprepared() -> None:
    raise RuntimeError("no database here")


async def later(job_id: str, data: Any) -> Any:
    import asyncio  # here, so that workers that need none start fast

    await asyncio.sleep(0)
    return data + 1


async def count_later(job_id: str, data: int) -> AsyncIterator[int]:
    import asyncio

    for number in range(data):
        await asyncio.sleep(0)
        yield number


def count(job_id: str, data: int) -> Iterator[int]:
    yield from range(data)


def count_with_trace(job_id: str, data: str) -> Iterator[int]:
    """Count for ever; the file *data* grows by a byte with each value, and another tells that it was closed."""
    number = 0
    try:
        while True:
            with Path(data).open("a") as trace:
                trace.write("x")
            yield number
            number += 1
    finally:
        Path(f"{data}-closed").touch()


def count_then_fail(job_id: str, data: int) -> Iterator[int]:
    yield from range(data)
    raise ValueError("enough")


def slow_count(job_id: str, data: float) -> Iterator[int]:
    yield 0
    time.sleep(data)
    yield 1


def made(base: int, shared: Mapping[str, Any]) -> Any:
    def handler(job_id: str, data: int) -> Any:
        return base + data + shared.get("offset", 0)

    return handler


def made_with_metadata(shared: Mapping[str, Any]) -> Any:
    return with_metadata


def made_badly(shared: Mapping[str, Any]) -> Any:
    raise RuntimeError("no such table")


class TwoArgumentsError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class UnreadableError(Exception):
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class ShyError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def misbehave(job_id: str, data: Any) -> Any:  # noqa: C901, PLR0912 - one case a line
    match data:
        case "two arguments":
            raise TwoArgumentsError("cannot", "cross")
        case "unreadable":
            raise UnreadableError("lost")
        case "shy":
            raise ShyError
        case "value error":
            raise ValueError("plain")
        case "lock":
            return threading.Lock()
        case "sys.exit":
            sys.exit(7)
        case "keyboard":
            raise KeyboardInterrupt
        case "stop iteration":
            raise StopIteration
        case "recursion":
            return misbehave(job_id, data)
        case "memory":
            raise MemoryError
        case "huge":
            return bytes(300 * 1024 * 1024)
        case "os._exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)
        case "doze":
            time.sleep(3)
        case "hang hard":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        case "spin":
            while True:
                pass
        case "fork":
            return os.fork()
        case "daemon":
            threading.Thread(target=print, daemon=True).start()
        case "numpy":
            return __import__("numpy").__name__
        case _:
            return data
    return None


def die_once(job_id: str, data: Any) -> str:
    """Kill the worker the first time, work the second: *data* is a path that remembers."""
    path = Path(data)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


def spoil_and_die_once(job_id: str, data: tuple[str, bytearray]) -> int:
    path, payload = Path(data[0]), data[1]
    first = payload[0]
    payload[0] = 9
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return first


def appear_then_nap(job_id: str, data: str) -> str:
    """Write the process id to the named pipe *data*, then hang."""
    Path(data).write_text(str(os.getpid()))
    time.sleep(3600)
    return data


class Hook:
    """A `WorkerHook` that notes what happens."""

    def __init__(self) -> None:
        self._notes: list[Any] = []

    @contextmanager
    def unit(self, carrier: Mapping[str, str], stage: str, bloc: str, job_id: str) -> Generator[None]:
        try:
            yield
        except ValueError as error:
            self._notes.append(("failed", str(error)))
            raise
        self._notes.append((carrier["trace"], stage, bloc, job_id))

    def drain(self) -> list[Any]:
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        self._notes.append("closed")


def broken_hook() -> Any:
    raise RuntimeError("no telemetry here")
