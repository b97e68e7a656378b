"""Where the flow reads the time. Waiting is the event loop's, so a loop with its own time fakes both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """``now_ns`` is a monotonic reading in nanoseconds; called once or twice a hop, so it must be cheap."""

    now_ns: Callable[[], int] = time.monotonic_ns
