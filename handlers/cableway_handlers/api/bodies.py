"""Bodies as this API takes them: strict JSON, known members only, nothing converted on the quiet."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from cableway.errors import Fault
from cableway_handlers.api import strict_json
from cableway_handlers.api.asgi import Message, header, read_json_body
from cableway_handlers.api.problems import InvalidRequestError

BODY_BYTES = 1024 * 1024
"""The largest body."""

BODY_S = 30.0
"""Seconds within which it must be there."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)


class Body(BaseModel):
    """What a request may say; an unknown member is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _instant(value: Any) -> Any:
    # Numbers and bare dates would be taken as well, and mean what nobody meant.
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError("must be a time with its offset from UTC, such as 2026-01-31T08:00:00Z")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("is no time that there is") from None


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""An instant in RFC 3339, with its offset."""

Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number in a query, written as one."""

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s/]([^/]*[^\s/])?$")]
"""The name of something that is stored."""

JsonObject = dict[str, Any]


class Addressed(Body):
    """A change of what the address names; its body may say the name again."""

    name: Name | None = Field(default=None, description="As in the address, which has it already.")

    def check_name(self, name: str) -> None:
        """Raise `InvalidRequestError` where the body says another *name* than the address."""
        if self.name not in {None, name}:
            message = "is not the name in the address: a name stays, so make the other one and delete this one"
            raise InvalidRequestError([Fault("/body/name", "name", message)])


class StrictRoute(APIRoute):
    """A route whose body is read by `strict_json` before anything is made of it.

    A body over `BODY_BYTES` is 413, one that is not declared as JSON 415, one that is not strict JSON 400. A query
    parameter that is not known here is 422: a filter that is misspelt would otherwise look like an answer.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the check."""
        handle = super().get_route_handler()
        known = _query_names(self.dependant)

        async def strict(request: Request) -> Response:
            unknown = sorted(set(request.query_params) - known)
            if unknown:
                near = f"; there are: {', '.join(sorted(known))}" if known else ""
                raise InvalidRequestError(
                    Fault(f"/query/{name[:80]}", "unknown", f"is not known here{near}") for name in unknown[:20]
                )
            if self.body_field is not None and _has_body(request):
                body = await read_json_body(request.scope, request.receive, limit_bytes=BODY_BYTES, deadline_s=BODY_S)
                strict_json.parse(body)
                request = Request(request.scope, _Replay(body))
            return await handle(request)

        return strict


def _query_names(dependant: Dependant) -> set[str]:
    own = {parameter.alias for parameter in dependant.query_params}
    return own.union(*(_query_names(each) for each in dependant.dependencies))


class _Replay:
    """Gives a body that was read before to whoever reads it next."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self) -> Message:
        return {"type": "http.request", "body": self._body, "more_body": False}


def _has_body(request: Request) -> bool:
    length = header(request.scope, b"content-length")
    return length not in {None, b"0"} or header(request.scope, b"transfer-encoding") is not None
