"""Where the flow reads the time. Waiting is the event loop's, so a loop with its own time fakes both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clock:
    """``now_ns`` is a monotonic reading in nanoseconds; called once or twice a hop, so it must be cheap."""

    now_ns: Callable[[], int] = time.monotonic_ns

    def watched(self, worker: T) -> T:
        """*worker*, which works outside the event loop, as the flow is to use it; here as it is.

        A clock that decides when time passes has to see when somebody is at work out there.
        """
        return worker
