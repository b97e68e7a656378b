"""Handlers of the flow's contract suite, as lanes in children take them. Light, so that every lane can load them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cableway.items import DROP, WorkItem

prepared: list[str] = []


class TornError(Exception):
    """What the handlers raise on purpose."""


def same(job_id: str, data: Any) -> Any:
    return data


def double(job_id: str, data: int) -> int:
    return data * 2


def total(job_id: str, data: list[int]) -> int:
    return sum(data)


def lengths(job_id: str, data: list[Any]) -> int:
    return len(data)


def as_bytes(job_id: str, data: int) -> bytes:
    return bytes(data)


def odd_fails(job_id: str, data: int) -> int:
    if data % 2:
        raise TornError(f"{data} is odd")
    return data


def fails_twice(job_id: str, data: Any, metadata: Mapping[str, Any]) -> Any:
    if metadata["attempt"] <= 2:
        raise TornError(f"attempt {metadata['attempt']}")
    return data


def always_fails(job_id: str, data: Any) -> Any:
    raise TornError(data)


def by_word(job_id: str, data: str, metadata: Mapping[str, Any]) -> Any:
    match data:
        case "drop":
            return None
        case "raise":
            raise TornError(data)
        case "raise once" if metadata["attempt"] == 1:
            raise TornError(data)
        case _:
            return data


def gives_none(job_id: str, data: Any) -> None:
    return None


def gives_drop(job_id: str, data: Any) -> Any:
    return DROP


def many(job_id: str, data: int) -> Iterator[int]:
    yield from range(data)


def many_items(job_id: str, data: int) -> list[WorkItem]:
    return [WorkItem(number) for number in range(data)]


def many_values(job_id: str, data: int) -> list[int]:
    return list(range(data))


def colour_of(job_id: str, data: Any, metadata: Mapping[str, Any]) -> Any:
    return job_id, data, metadata["attempt"], metadata["custom_metadata"]


def prepare() -> None:
    prepared.append("once")


def unprepared() -> None:
    raise RuntimeError("no licence")


def times_prepared(job_id: str, data: Any) -> int:
    return len(prepared)


def nap(job_id: str, data: float) -> tuple[int, int]:
    """Sleep so long, and tell from when to when."""
    began = time.monotonic_ns()
    time.sleep(data)
    return began, time.monotonic_ns()


def appear_then_nap(job_id: str, data: tuple[str, float]) -> int:
    """Write the process id to the named pipe, then sleep."""
    Path(data[0]).write_text(str(os.getpid()))
    time.sleep(data[1])
    return 1


async def nap_on_loop(job_id: str, data: float) -> tuple[int, int]:
    began = time.monotonic_ns()
    await asyncio.sleep(data)
    return began, time.monotonic_ns()


async def appear_then_nap_on_loop(job_id: str, data: tuple[str, float]) -> int:
    Path(data[0]).write_text(str(os.getpid()))  # noqa: ASYNC240 - somebody reads already
    await asyncio.sleep(data[1])
    return 1


ON_LOOP: dict[Callable[..., Any], Callable[..., Awaitable[Any]]] = {
    nap: nap_on_loop,
    appear_then_nap: appear_then_nap_on_loop,
}
"""What stands in for a handler that blocks where it would block the event loop."""


def grows_later(job_id: str, data: dict[str, list[int]]) -> dict[str, list[int]]:
    """Give the data, and go on changing it."""
    import threading

    data["list"].append(2)
    threading.Timer(0.01, data["list"].append, [3]).start()
    return data


def in_most_ways(job_id: str, data: Any, metadata: Mapping[str, Any]) -> Any:
    """What a handler can do in any lane."""
    if data == "lock":
        import threading

        return threading.Lock()
    if data == "sys.exit":
        raise SystemExit(7)
    return by_word(job_id, data, metadata) if isinstance(data, str) else data


def in_any_way(job_id: str, data: Any, metadata: Mapping[str, Any]) -> Any:
    """What a handler can do in a process of its own, which may die of it."""
    if data == "kill once" and metadata["attempt"] == 1:
        os._exit(3)
    return in_most_ways(job_id, data, metadata)


def appear_once_then_wait(job_id: str, data: Any) -> Any:
    """Write the process id to the named pipe *data* and wait to be killed; the second time, go on."""
    if isinstance(data, str) and not Path(f"{data}-appeared").exists():
        Path(f"{data}-appeared").touch()
        Path(data).write_text(str(os.getpid()))
        time.sleep(3600)
    return data
