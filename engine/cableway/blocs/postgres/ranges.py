"""
Ranges of a table's key: what an item of a keyed ``postgres_loader`` is.

A range reaches from behind one key to another one, and the ranges of a lap follow each other without a gap.
Its position says both ends in characters that item keys can hold: ``*:1000``, ``1000:2000``. Keys are the
texts that Postgres writes, which only Postgres can put in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cableway.errors import SourceError

Key = tuple[str, ...]
"""The values of the key's columns, as texts."""
_START = "*"
"""Stands for what is before all keys; in a key it is written as its number."""


@dataclass(frozen=True, slots=True)
class Range:
    """The rows with keys above *low* (None: from the first on) up to *high* (None: to the last)."""

    low: Key | None
    high: Key | None

    @property
    def position(self) -> str:
        """The range as an item's position."""
        return f"{_written(self.low)}:{_written(self.high)}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A range to be read; where it is *whole* it is one item, as it was before."""

    range: Range
    whole: bool


def range_at(position: str, columns: int) -> Range:
    """The range that *position* says. Raise `SourceError` where it says none of a key of so many *columns*."""
    low, found, high = position.partition(":")
    ends = [None if end == _START else tuple(map(unquote, end.split(","))) for end in (low, high)]
    if not found or ":" in high or any(end is not None and len(end) != columns for end in ends):
        raise SourceError(f"{position!r} is no position of this loader: was its key another one?")
    return Range(ends[0], ends[1])


def is_range(position: str) -> bool:
    """Whether *position* is written as a range is; keys of gathers, for one, are not."""
    return position.count(":") == 1


def stretches(known: Sequence[Range], start: Key | None, upper: Key) -> Iterator[Stretch]:
    """What is to be read from behind *start* up to *upper*, given *known* ranges in order of their lower ends."""
    at = start
    for piece in known:
        if piece.low != at:
            yield Stretch(Range(at, piece.low), whole=False)
        yield Stretch(piece, whole=True)
        at = piece.high
    if at != upper:
        yield Stretch(Range(at, upper), whole=False)


def from_start(known: Iterable[Range], start: Key | None) -> Iterator[Range]:
    """Of ranges in order those from the one that begins at *start* on."""
    begun = start is None
    for piece in known:
        begun = begun or piece.low == start
        if begun:
            yield piece


def _written(key: Key | None) -> str:
    # Dots divide the parts of an item's key.
    return _START if key is None else ",".join(quote(value, safe="").replace(".", "%2E") for value in key)
