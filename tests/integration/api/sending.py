"""Webhooks as a sender makes them."""

from __future__ import annotations

import time
from uuid import uuid4

import httpx

from cableway_handlers.api.signature import decode_secret, sign

SECRET_TEXT = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SECRET = decode_secret(SECRET_TEXT)
BODY = b'{"day": "2026-01-31"}'


def webhook(
    url: str,
    body: bytes = BODY,
    *,
    id: str | None = None,
    hook: str = "orders",
    secret: bytes = SECRET,
    sent_ago_s: int = 0,
    **headers: str,
) -> httpx.Request:
    """A signed webhook. *headers*, with ``_`` for ``-``, go over what it would send."""
    webhook_id = id or f"msg_{uuid4().hex}"
    timestamp = int(time.time()) - sent_ago_s
    fields = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return httpx.Request("POST", f"{url}/hooks/{hook}", content=body, headers=fields)
