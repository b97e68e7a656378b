"""The work of the CPU and payload benchmarks. Light: every kind of worker imports it."""

from __future__ import annotations

from typing import Any


def busy(_job_id: str, _data: Any) -> int:
    total = 0
    for number in range(13_000):  # about a millisecond
        total += number * number % 7
    return total


def busy_alone(number: int) -> int:
    return busy("", number)


def touch(_job_id: str, data: Any) -> float:
    """Read both ends of a payload, whatever it is."""
    match type(data).__name__:
        case "DataFrame":
            return float(data.iat[0, 0] + data.iat[-1, 0])
        case "Table":
            return float(data.num_rows)
        case _:
            return float(data[0] + data[-1])
