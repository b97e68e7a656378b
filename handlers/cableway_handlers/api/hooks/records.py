"""
What is kept of deliveries, to be looked at and sent again: beside the run, after the answer, as well as it can be.

At most `MAX_WAITING` records are written every `PAUSE_S` seconds, the newest, so that a flood of webhooks costs the
database no more than that. Runs do not depend on any of it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cableway.errors import CablewayError
from cableway.store.ids import new_id
from cableway.store.storable import storable_text
from cableway_handlers.api.hooks.hook import Hook
from cableway_handlers.api.hooks.senders import Sent

MAX_WAITING = 256
PAUSE_S = 0.2
MAX_VALUE = 300
"""Characters of a header's value."""
MAX_HEADERS = 60
MASK = "***"

_SECRET = re.compile(r"auth|cookie|signature|secret|token|password|credential|session|api-?key|(?<!idempotency)-key$")
_log = logging.getLogger("cableway.api")
Record = dict[str, Any]


def record_of(  # noqa: PLR0913 - each is a column
    hook: Hook,
    sent: Sent,
    *,
    verdict: str,
    status: int,
    received_s: float,
    key: str | None = None,
    run_id: str | None = None,
    step: str | None = None,
    error: str | None = None,
) -> Record | None:
    """The record of a delivery; None where its hook wants none of this verdict."""
    wanted = hook.trigger.record
    if wanted == "none" or hook.trigger.record_last == 0 or (wanted == "accepted" and verdict != "accepted"):
        return None
    is_small = len(sent.body) <= hook.trigger.record_bytes
    return {
        "delivery_id": new_id(),
        "trigger_name": hook.name,
        "received_s": received_s,
        "verdict": verdict,
        "status": status,
        "step": step,
        "error": error,
        "key": key,
        "run_id": run_id,
        "headers": masked(sent.headers, own=hook.trigger.header.lower()),
        "body": base64.b64encode(sent.body).decode() if is_small else None,
        "body_bytes": len(sent.body),
    }


def masked(headers: Mapping[str, str], *, own: str = "") -> dict[str, str]:
    """*headers* without what may be a secret: by their names, and the one called *own*."""
    return {
        storable_text(name[:MAX_VALUE]): MASK
        if name == own or _SECRET.search(name)
        else storable_text(value[:MAX_VALUE])
        for name, value in list(headers.items())[:MAX_HEADERS]
    }


class Keeper:
    """Collects records and has *write* store them, soon and together."""

    def __init__(self, write: Callable[[list[Record]], Awaitable[None]], *, pause_s: float = PAUSE_S) -> None:
        self._write = write
        self._pause_s = pause_s
        self._waiting: deque[Record] = deque(maxlen=MAX_WAITING)
        self._lost = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, record: Record | None) -> None:
        """Keep *record*, if it is one; never blocks, never raises."""
        if record is None:
            return
        self._lost += len(self._waiting) == MAX_WAITING
        self._waiting.append(record)
        if self._task is None:
            self._task = asyncio.create_task(self._after_a_pause())

    async def flush(self) -> None:
        """Store what there is now."""
        records = list(self._waiting)
        self._waiting.clear()
        if self._lost:
            _log.info("%d deliveries were not kept: too many at once", self._lost)
            self._lost = 0
        if not records:
            return
        try:
            await self._write(records)
        except CablewayError as error:
            _log.warning("%d deliveries were not kept: %s", len(records), error)
        except Exception:  # noqa: BLE001 - nothing hangs on them
            _log.exception("%d deliveries were not kept", len(records))

    async def close(self) -> None:
        """Store what there is, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    async def _after_a_pause(self) -> None:
        try:
            await asyncio.sleep(self._pause_s)
        finally:
            self._task = None
        await self.flush()
