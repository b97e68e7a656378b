"""The token that says on whose behalf a request is sent: a JWT, signed with the key of the setting ENCRYPT_KEY."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cableway.redaction import guard

if TYPE_CHECKING:
    from cableway.settings import HttpSettings

LIFETIME_S = 600
"""Seconds that a token holds."""


def user_headers(user_id: str, settings: HttpSettings | None) -> dict[str, str]:
    """The Authorization header for *user_id*; none where no key is set."""
    key = settings.encrypt_key if settings is not None else None
    if key is None:
        return {}
    import jwt

    now = int(time.time())
    claims = {"sub": user_id, "user_id": user_id, "iat": now, "exp": now + LIFETIME_S}
    token = jwt.encode(claims, key, algorithm="HS256")
    guard([key, token])
    return {"Authorization": f"Bearer {token}"}
