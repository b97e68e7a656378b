"""Lists in pages: how long one is, where it begins, and what it looks like."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from cableway.errors import Fault
from cableway.store.ids import is_id
from cableway.store.pages import MAX_BIGINT
from cableway_handlers.api.bodies import Whole
from cableway_handlers.api.problems import InvalidRequestError

PAGE = 100
MAX_PAGE = 500
"""Members of a page, at most."""

Item = TypeVar("Item")
Row = TypeVar("Row")
View = TypeVar("View")


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next_cursor: str | None = Field(description="Ask with it for the page after this one; null: this is the last.")


Limit = Annotated[Whole, Query(ge=1, le=MAX_PAGE, description="Members of the page, at most.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="As `next_cursor` of the page before.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page somebody wants."""

    limit: int
    cursor: str | None

    def after(self, read: Callable[[list[Any]], Row]) -> Row | None:
        """Where the page before ended, as *read* makes it of the cursor's members; None for the first page.

        Raise `InvalidRequestError` for a cursor that nobody was given.
        """
        if self.cursor is None:
            return None
        try:
            members = json.loads(base64.urlsafe_b64decode(self.cursor.encode("ascii")))
            if isinstance(members, list):
                return read(members)  # pyright: ignore[reportUnknownArgumentType] - read looks at each
        except (binascii.Error, UnicodeError, ValueError, TypeError, RecursionError):
            pass
        message = "is none that this list has given"
        raise InvalidRequestError([Fault("/query/cursor", "cursor", message)]) from None

    def page(
        self, rows: Sequence[Row], cursor: Callable[[Row], Sequence[Any]], view: Callable[[Row], View]
    ) -> Page[View]:
        """The page that *rows* (one more than the limit where there are more) make."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(items=[view(row) for row in shown], next_cursor=_written(cursor(shown[-1])) if more else None)


def asked(limit: Limit = PAGE, cursor: Cursor = None) -> Asked:
    """A route's dependency: the page that the query asks for."""
    return Asked(limit, cursor)


def text_after(members: list[Any]) -> str:
    """A cursor of one text. Raise `ValueError` for another."""
    (text,) = members
    if not isinstance(text, str) or "\x00" in text:
        raise ValueError
    text.encode()
    return text


def number_after(members: list[Any]) -> int:
    """A cursor of one number. Raise `ValueError` for another."""
    (number,) = members
    if type(number) is not int or not 0 <= number <= MAX_BIGINT:
        raise ValueError
    return number


def run_after(members: list[Any]) -> tuple[datetime, str]:
    """A cursor of an instant and a run's id. Raise `ValueError` for another."""
    at, run_id = members
    if not (isinstance(at, str) and isinstance(run_id, str) and is_id(run_id)):
        raise ValueError
    instant = datetime.fromisoformat(at)
    if instant.tzinfo is None:
        raise ValueError
    return instant, run_id


def same(row: Row) -> Row:
    """The row as it is."""
    return row


def _written(members: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(members)).encode()).decode()
