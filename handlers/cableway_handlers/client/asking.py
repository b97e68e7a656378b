"""
One description of everything that can be asked, and how each of the two clients follows it.

A method marked `asked` says which requests it takes, one after the other, and what comes of their answers. It sends
nothing: `Waits` does, and `Awaits` with an event loop, so that what is said once is a method of both.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeAlias, TypeVar, cast, overload

from cableway_handlers.client import calls
from cableway_handlers.client.exchange import Call

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")

Asking: TypeAlias = Generator[Call, Any, T]
"""Gives requests, is sent the JSON that each was answered with, and returns what was asked for."""


class Waits(Protocol):
    """A client whose methods return when they are answered."""

    def send(self, call: Call) -> Any:
        """What *call* is answered with."""
        ...

    def ask(self, asking: Asking[T]) -> T:
        """What was asked for. Raise what sending raises."""
        answer: Any = None
        while True:
            try:
                call = asking.send(answer)
            except StopIteration as end:
                found: T = end.value
                return found
            answer = self.send(call)


class Awaits(Protocol):
    """A client whose methods are awaited."""

    async def send(self, call: Call) -> Any:
        """What *call* is answered with."""
        ...

    async def ask(self, asking: Asking[T]) -> T:
        """What was asked for. Raise what sending raises."""
        answer: Any = None
        while True:
            try:
                call = asking.send(answer)
            except StopIteration as end:
                found: T = end.value
                return found
            answer = await self.send(call)


class Asked(Protocol[P, T_co]):
    """A method of either client: with the same parameters it returns what the other one has to be awaited for."""

    @overload
    def __get__(self, client: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, client: Waits, owner: type[Any]) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, client: Awaits, owner: type[Any]) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


def asked(describe: Callable[Concatenate[Any, P], Asking[T]]) -> Asked[P, T]:
    """Make of what *describe* says a method of clients."""

    @wraps(describe)
    def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return client.ask(describe(client, *args, **kwargs))

    # A function is bound to its client as such a method is; which of the two it is decides about the result.
    return cast("Asked[P, T]", method)


def one(call: Call) -> Asking[Any]:
    """What *call* is answered with."""
    return (yield call)


def member(call: Call, name: str) -> Asking[Any]:
    """The member *name* of what *call* is answered with."""
    return (yield call)[name]


def many(path: str, query: Mapping[str, Any], wanted: int | None = None) -> Asking[list[Any]]:
    """The list at *path*, page after page; the first *wanted* members of it, None: all."""
    found: list[Any] = []
    cursor: str | None = None
    while wanted is None or len(found) < wanted:
        page = yield calls.page(path, query, cursor, None if wanted is None else wanted - len(found))
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found
