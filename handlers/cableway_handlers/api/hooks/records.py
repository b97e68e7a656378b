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
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from cableway.errors import CablewayError
from cableway.store.ids import new_id
from cableway.store.storable import storable_text
from cableway_handlers.api.hooks.hook import Hook
from cableway_handlers.api.hooks.senders import Sent

MAX_WAITING = 64
PAUSE_S = 0.25
MAX_VALUE = 300
"""Characters of a header's value."""
MAX_HEADERS = 60
MASK = "***"

_SECRET = re.compile(r"auth|cookie|signature|secret|token|password|credential|session|api-?key|(?<!idempotency)-key$")
_log = logging.getLogger("cableway.api")


Verdict = Literal["accepted", "replayed", "filtered", "refused"]


def is_wanted(hook: Hook, verdict: Verdict) -> bool:
    """Whether *hook* keeps deliveries of this verdict."""
    wanted = hook.trigger.record
    return wanted == "all" or (wanted == "accepted" and verdict == "accepted")


@dataclass(slots=True, kw_only=True)
class Record:
    """A delivery and the verdict on it."""

    hook: Hook
    sent: Sent
    verdict: Verdict
    status: int
    received_s: float
    key: str | None = None
    run_id: str | None = None
    step: str | None = None
    """At which it was refused."""
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """The record as it is stored."""
        body, trigger = self.sent.body, self.hook.trigger
        return {
            "delivery_id": new_id(),
            "trigger_name": self.hook.name,
            "received_s": self.received_s,
            "verdict": self.verdict,
            "status": self.status,
            "step": self.step,
            "error": self.error,
            "key": self.key,
            "run_id": self.run_id,
            "headers": masked(self.sent.headers, own=trigger.header.lower()),
            "body": base64.b64encode(body).decode() if len(body) <= trigger.record_bytes else None,
            "body_bytes": len(body),
        }


def masked(headers: Mapping[str, str], *, own: str = "") -> dict[str, str]:
    """*headers* without what may be a secret: by their names, and the one called *own*."""
    return {
        storable_text(name[:MAX_VALUE]): MASK if name == own or _is_secret(name) else storable_text(value[:MAX_VALUE])
        for name, value in islice(headers.items(), MAX_HEADERS)
    }


@lru_cache(maxsize=256)  # the same few come with every delivery
def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


class Keeper:
    """Collects records and has *write* store them, soon and together."""

    def __init__(self, write: Callable[[list[Record]], Awaitable[None]], *, pause_s: float = PAUSE_S) -> None:
        self._write = write
        self._pause_s = pause_s
        self._waiting: deque[Record] = deque(maxlen=MAX_WAITING)
        self._lost = 0
        self._pausing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, record: Record) -> None:
        """Keep *record* soon; never blocks, never raises."""
        self._lost += len(self._waiting) == MAX_WAITING
        self._waiting.append(record)
        if self._pausing is None:
            self._pausing = task = asyncio.create_task(self._after_a_pause())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Store what there is now; what is being stored meanwhile is stored when this returns."""
        await self._store()
        await asyncio.gather(*(self._tasks - {self._pausing}), return_exceptions=True)

    async def close(self) -> None:
        """Store what there is, and end."""
        if self._pausing is not None:
            self._pausing.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store()

    async def _after_a_pause(self) -> None:
        try:
            await asyncio.sleep(self._pause_s)
        finally:
            self._pausing = None
            await self._store()

    async def _store(self) -> None:
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
