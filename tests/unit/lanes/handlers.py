"""Handlers that the lanes' tests run in their workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def double(job_id: str, data: Any) -> Any:
    return data * 2


def same(job_id: str, data: Any) -> Any:
    return data


def size(job_id: str, data: Any) -> tuple[str, int]:
    return type(data).__name__, len(data)


def nap(job_id: str, data: float) -> float:
    time.sleep(data)
    return data


def pid(job_id: str, data: Any) -> int:
    return os.getpid()


def count_to(job_id: str, data: int) -> Iterator[int]:
    yield from range(data)


class TwoArgumentsError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def misbehave(job_id: str, data: Any) -> Any:  # noqa: C901, PLR0912 - one case a line
    match data:
        case "two arguments":
            raise TwoArgumentsError("cannot", "cross")
        case "value error":
            raise ValueError("plain")
        case "lock":
            return threading.Lock()
        case "sys.exit":
            sys.exit(7)
        case "os._exit":
            os._exit(3)
        case "keyboard":
            raise KeyboardInterrupt
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "recursion":
            return misbehave(job_id, data)
        case "memory":
            raise MemoryError
        case "stop iteration":
            raise StopIteration
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        case "huge":
            return bytes(300 * 1024 * 1024)
        case _:
            return data
    return None


def killer_until(job_id: str, data: Any) -> str:
    """Kill the worker the first time, work the second: *data* is a path that remembers."""
    path = Path(data)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"
