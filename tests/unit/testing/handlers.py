"""Handlers that children import."""

from __future__ import annotations

import time
from collections.abc import Iterator


def double(job_id: str, data: int) -> int:
    return data * 2


def hang(job_id: str, data: int) -> int:
    time.sleep(60)
    return data


def count_up(job_id: str, data: int) -> Iterator[int]:
    yield from range(data)
