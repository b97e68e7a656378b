"""
What all clients share: which answers are tried again and when, and what an answer that is an error becomes.

A request is tried again where the service cannot have acted on it (no connection, 429, 503), and, where sending it
twice does no harm, also where its answer was lost. ``Retry-After`` goes before our own waits.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.request import getproxies

import httpx

from cableway.errors import CablewayError, UnavailableError

TRIES = 5
"""How often a request is sent, at most."""

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
TIMEOUT_S = 30.0

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_TRY_AGAIN = frozenset({429, 503})


class ClientError(CablewayError):
    """The service refused a request: ``answered`` is the status of its answer, ``body`` what it said, if in JSON."""

    code = "refused"
    title = "The service refused the request"

    def __init__(self, status: int, message: str, body: Any = None) -> None:
        super().__init__(message)
        self.answered = status
        self.body = body


class ServiceUnavailableError(UnavailableError):
    """The service did not answer, however often it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``repeatable``: sent twice it does what it does once."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = False
    takes: frozenset[int] = frozenset()
    """Statuses that are answers, though they look like errors."""

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """It as *client* sends it."""
        query = {name: _written(value) for name, value in self.query.items() if value is not None}
        return client.build_request(
            self.method, self.path, params=query or None, json=self.json, headers=dict(self.headers)
        )


def wait_after(outcome: httpx.Response | httpx.HTTPError, call: Call, tries: int) -> float | None:
    """Seconds to wait before *call*, sent *tries* times, is sent again; None: that is its outcome."""
    if tries >= TRIES:
        return None
    own_s = random.uniform(0.5, 1) * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tries - 1))
    if isinstance(outcome, httpx.HTTPError):
        lost = isinstance(outcome, httpx.TransportError) and not isinstance(outcome, httpx.UnsupportedProtocol)
        again = isinstance(outcome, _NOT_SENT) or (call.repeatable and lost)
        return own_s if again else None
    if outcome.status_code not in _TRY_AGAIN or outcome.status_code in call.takes:
        return None
    said_s = _seconds(outcome.headers.get("retry-after"))
    return own_s if said_s is None else min(LONGEST_WAIT_S, max(said_s, 0.0))


def tls_for(url: str) -> ssl.SSLContext | bool:
    """What httpx is to check certificates with at *url*: with none to check, the authorities need not be read."""
    if not url.startswith("http://") or any(proxy.startswith("https:") for proxy in getproxies().values()):
        return True
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def answered(outcome: httpx.Response | httpx.HTTPError, call: Call) -> Any:
    """The JSON that *call* was answered with, None for an empty answer. Raise `ClientError` or `UnavailableError`."""
    if isinstance(outcome, httpx.HTTPError):
        name = type(outcome).__name__
        raise ServiceUnavailableError(
            f"{call.method} {call.path} was not answered: {str(outcome) or name}"
        ) from outcome
    body: Any = None
    if outcome.content:
        try:
            body = outcome.json()
        except ValueError:
            body = None
    if outcome.is_success or outcome.status_code in call.takes:
        return body
    raise _refusal(outcome, body, call)


def _refusal(response: httpx.Response, body: Any, call: Call) -> CablewayError:
    said = _said(cast("Mapping[str, Any]", body)) if isinstance(body, Mapping) else ""
    message = f"{call.method} {call.path} was answered {response.status_code}: {said or response.reason_phrase}"
    if response.status_code in _TRY_AGAIN:
        return ServiceUnavailableError(message)
    return ClientError(response.status_code, message, body)


def _said(problem: Mapping[str, Any]) -> str:
    """What a *problem* says, with the faults that it lists beside its words, three of them at most."""
    said = str(problem.get("detail") or problem.get("title") or "")
    listed: Any = problem.get("errors")
    faults = cast("list[Any]", listed) if isinstance(listed, list) else []
    lines = [_line(cast("Mapping[str, Any]", fault)) for fault in faults if isinstance(fault, Mapping)]
    untold = [line for line in lines if line not in said][:3]
    return " ".join([said, "; ".join(untold)]).strip()


def _line(fault: Mapping[str, Any]) -> str:
    return ": ".join(str(fault[name]) for name in ("pointer", "message") if fault.get(name))


def _written(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else value


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
