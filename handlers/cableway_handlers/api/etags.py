"""
Answers with an ETag, and the conditions that requests attach to one.

An ETag is the row's revision and a digest of what was answered: the first says which change came last, the second
tells a row from another that had its name before.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import TypeAdapter

from cableway.errors import ConflictError
from cableway_handlers.api.asgi import JSON
from cableway_handlers.api.problems import PreconditionNeededError

_TAG = re.compile(r'\s*(W/)?"([!#-~]{0,200})"\s*(?:,|$)')
_TAGS = r'^(\*|(W/)?"[!#-~]{0,200}"( *, *(W/)?"[!#-~]{0,200}"){0,20})$'


@dataclass(frozen=True, slots=True)
class Shown:
    """Something as it is answered, with its tag."""

    content: bytes
    tag: str

    @classmethod
    def of(cls, adapter: TypeAdapter[Any], value: object, revision: int) -> Shown:
        """*value*, at its *revision*."""
        content = adapter.dump_json(adapter.validate_python(value, from_attributes=True))
        return cls(content, f"{revision}-{hashlib.sha256(content).hexdigest()[:16]}")

    def response(self, status: int = 200, **headers: str) -> Response:
        """The answer that holds it."""
        return Response(self.content, status, {"etag": f'"{self.tag}"', **headers}, JSON)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What ``If-Match`` says: the state that a change is a change of."""

    tags: tuple[str, ...] | None
    """None: any."""

    def check(self, shown: Shown) -> None:
        """Raise `ConflictError` (412) unless *shown* is what the caller has seen."""
        revision = shown.tag.partition("-")[0]
        if self.tags is not None and not {shown.tag, revision} & set(self.tags):
            raise ConflictError("it has changed since: read it again, and send the ETag that it has then")


IfMatch = Annotated[
    str | None,
    Header(
        pattern=_TAGS,
        description='The ETag that was read; a bare revision as in `"3"` will do, and `*` stands for any.',
    ),
]


def if_match(if_match: IfMatch = None) -> Precondition:
    """A route's dependency: the condition of a change that may come without one."""
    if if_match is None or if_match == "*":
        return Precondition(None)
    # Weak ones never match here, so they are read and left out.
    return Precondition(tuple(tag for weak, tag in _TAG.findall(if_match) if not weak))


def if_match_needed(condition: Annotated[Precondition, Depends(if_match)], request: Request) -> Precondition:
    """The same for a change that must have one. Raise `PreconditionNeededError` (428)."""
    if "if-match" not in request.headers:
        raise PreconditionNeededError
    return condition


def answered(request: Request, shown: Shown) -> Response:
    """*shown*, or 304 where the caller has it already."""
    known = ",".join(request.headers.getlist("if-none-match"))
    if known and (known.strip() == "*" or shown.tag in {tag for _, tag in _TAG.findall(known)}):
        return Response(status_code=304, headers={"etag": f'"{shown.tag}"'})
    return shown.response()
