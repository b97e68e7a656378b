"""A recorded delivery of a webhook with its body, as it is looked at and sent again."""

from __future__ import annotations

from dataclasses import dataclass

from cableway.errors import UnknownNameError
from cableway.store.executor import Row, Step, Steps
from cableway.store.pages import DeliveryRow
from cableway.store.storable import storable_text


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeDelivery(DeliveryRow):
    """A delivery, the verdict on it, and what was sent."""

    body: bytes | None
    """None where it was not kept."""


def read_delivery(delivery_id: str) -> Steps[WholeDelivery]:
    """The delivery of this id. Raise `UnknownNameError` where there is none."""
    rows = yield Step("delivery", {"delivery_id": storable_text(delivery_id)})
    if not rows:
        raise UnknownNameError("no delivery of this id is kept; `cableway hooks deliveries` lists those that are")
    body: bytes | None = rows[0]["body"]
    fields: Row = {**rows[0], "body": None if body is None else bytes(body)}
    return WholeDelivery(**fields)
