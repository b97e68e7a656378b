"""What the pipelines of these tests wait for, in place of a service."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any


async def ask(rows: Any, usual_s: float) -> Any:
    """Answer after *usual_s*, every fourth time after three times as long."""
    number = rows["a"][0].as_py()
    await asyncio.sleep(usual_s * 3 if number % 4 == 0 else usual_s)
    return rows


def even(rows: Any) -> Any:
    """The rows, where their number is even; else it fails."""
    if rows["a"][0].as_py() % 2:
        raise ValueError("odd")
    return rows


def die_once(rows: Any, marker: str) -> Any:
    """Kill this process without a word, unless that was done before."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rows
