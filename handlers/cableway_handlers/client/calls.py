"""The requests that both clients send, one function for each thing that can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from cableway_handlers.client.exchange import Call

DEFAULT_URL = "http://127.0.0.1:8000"

HEALTH = Call(method="GET", path="/health", repeatable=True, takes=frozenset({503}))

PAGE = 100
"""Members of a page, where nobody says how many are wanted in all."""
MAX_PAGE = 500


def get(*path: str | int, **query: Any) -> Call:
    """What is at *path*."""
    return Call(method="GET", path=_path(*path), query=query, repeatable=True)


def page(path: str, query: Mapping[str, Any], cursor: str | None, wanted: int | None) -> Call:
    """A page of the list at *path*, when *wanted* more members are."""
    limit = PAGE if wanted is None else min(wanted, MAX_PAGE)
    return Call(method="GET", path=path, query={**query, "limit": limit, "cursor": cursor}, repeatable=True)


def create(resource: str, body: Mapping[str, Any], **query: Any) -> Call:
    """Store something new."""
    return Call(method="POST", path=f"/{resource}", json=dict(body), query=query)


def change(resource: str, name: str, body: Mapping[str, Any], expected: int | None, **query: Any) -> Call:
    """Make it what *body* says, where it is still at the *expected* revision; None: wherever it is."""
    headers = {"if-match": "*" if expected is None else f'"{expected}"'}
    # Without an expectation the same once more changes nothing; with one it would be refused.
    return Call(
        method="PUT",
        path=_path(resource, name),
        json=dict(body),
        query=query,
        headers=headers,
        repeatable=expected is None,
    )


def delete(resource: str, name: str, expected: int | None) -> Call:
    """Delete it, where it is still at the *expected* revision; None: wherever it is."""
    headers = {} if expected is None else {"if-match": f'"{expected}"'}
    return Call(method="DELETE", path=_path(resource, name), headers=headers)


def do(*path: str | int, body: Mapping[str, Any] | None = None, expected: int | None = None) -> Call:
    """Do what *path* names."""
    headers = {} if expected is None else {"if-match": f'"{expected}"'}
    return Call(method="POST", path=_path(*path), json=None if body is None else dict(body), headers=headers)


def create_run(pipeline: str, parameters: Mapping[str, Any] | None, idempotency_key: str | None) -> Call:
    """Start a run; with a key, which is made where there is none, it is one run however often this is sent."""
    return Call(
        method="POST",
        path="/runs",
        json={"pipeline": pipeline, "parameters": dict(parameters or {})},
        headers={"idempotency-key": idempotency_key or str(uuid4())},
        repeatable=True,
    )


def bloc(bloc_type: str, config: Mapping[str, Any] | None, description: str) -> dict[str, Any]:
    """A bloc's settings as the API takes them."""
    return {"bloc_type": bloc_type, "config": dict(config or {}), "description": description}


def trigger(
    pipeline: str, expression: str | None, config: Mapping[str, Any] | None, *, enabled: bool
) -> dict[str, Any]:
    """A trigger's settings as the API takes them."""
    return {"pipeline": pipeline, "expression": expression, "config": dict(config or {}), "enabled": enabled}


def scheduler(pipeline: str, trigger_name: str, policies: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's settings as the API takes them."""
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in policies.items()}
    return {"pipeline": pipeline, "trigger_name": trigger_name, **plain}


def _path(*parts: str | int) -> str:
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)
