"""Recorded deliveries of webhooks, as they are looked at and sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cableway.errors import UnknownNameError
from cableway.store.executor import Step, Steps
from cableway.store.storable import storable_text


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery and the verdict on it."""

    delivery_id: str
    trigger_name: str
    received_at: datetime
    verdict: str
    """``accepted``, ``replayed``, ``filtered`` or ``refused``."""
    status: int
    """What it was answered with."""
    step: str | None
    """At which it was refused: form, signature, rate, idempotency, mapping or overlap."""
    error: str | None
    """The code of the problem."""
    key: str | None
    run_id: str | None
    headers: dict[str, str]
    """Masked where they may hold a secret."""
    body_bytes: int
    body_kept: bool
    body: bytes | None = None
    """Read with a single delivery alone."""


def read_deliveries(
    trigger: str | None = None, *, verdict: str | None = None, before: datetime | None = None, limit: int = 20
) -> Steps[tuple[DeliveryRow, ...]]:
    """The newest deliveries that are kept, of *trigger* or of all, received before *before* where it is given."""
    name = None if trigger is None else storable_text(trigger)
    rows = yield Step("deliveries", {"trigger": name, "verdict": verdict, "before": before, "limit": limit})
    return tuple(DeliveryRow(**row) for row in rows)


def read_delivery(delivery_id: str) -> Steps[DeliveryRow]:
    """The delivery of this id, with its body. Raise `UnknownNameError` where there is none."""
    rows = yield Step("delivery", {"delivery_id": storable_text(delivery_id)})
    if not rows:
        raise UnknownNameError("no delivery of this id is kept; `cableway hooks deliveries` lists those that are")
    fields: dict[str, Any] = dict(rows[0])
    body = fields.pop("body")
    return DeliveryRow(**fields, body=None if body is None else bytes(body))
