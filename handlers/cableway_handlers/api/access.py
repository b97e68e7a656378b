"""
Who is let in: everybody on this machine while there are no keys, else whoever has one.

Closed is what holds until shown otherwise. A server beyond the loopback is always closed; one on the loopback is
from the moment at which the database has had a key, and stays so when that is revoked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from fastapi import Request

from cableway.errors import UnavailableError
from cableway_handlers.api.asgi import Scope, header
from cableway_handlers.api.front import CALLER
from cableway_handlers.api.hosts import check_host
from cableway_handlers.api.keys import Found, KeyCount
from cableway_handlers.api.problems import ForbiddenError, KeyNeededError, TooManyRequestsError
from cableway_handlers.api.rates import Rates
from cableway_handlers.api.scopes import WHOEVER_IS_HERE, Caller, Resource, Verb

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What anybody may ask."""

BARE_PATHS = frozenset({"/health"})
"""What anybody may ask, and is told less."""

ASK_AGAIN_S = 1.0
"""Seconds for which "there are no keys" is believed."""

STRANGER = Caller(name="", scopes=frozenset())
"""Somebody without a key, where one is needed for all but the open paths."""


class KeyDesk(Protocol):
    """Where keys are looked up. Both raise `UnavailableError` while Postgres is away."""

    async def find_key(self, text: bytes) -> Found | None:
        """Whose key *text* is, its use noted."""
        ...

    async def count_keys(self) -> KeyCount:
        """How many keys there are."""
        ...


class Gate:
    """Lets requests in, or raises why not. With *closed* a key is needed even while there is none."""

    def __init__(
        self, desk: KeyDesk, rates: Rates, *, closed: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._rates = rates
        self._closed = closed
        self._clock = clock
        self._asked_s = float("-inf")

    async def admit(self, scope: Scope) -> Caller:
        """Who sent this request.

        Raise `KeyNeededError` (401), `ForeignHostError` (403), `TooManyRequestsError` (429), or `UnavailableError`
        while the database cannot tell.
        """
        path = scope["path"]
        if path in OPEN_PATHS:
            return self._anybody(scope)
        if path in BARE_PATHS:
            try:
                return await self._known(scope)
            except KeyNeededError:
                return STRANGER
            except UnavailableError:
                # The database is what this path tells of.
                return self._anybody(scope)
        return await self._known(scope)

    async def is_closed(self) -> bool:
        """Whether a key is needed."""
        if not self._closed and self._clock() - self._asked_s > ASK_AGAIN_S:
            self._closed = (await self._desk.count_keys()).known > 0
            self._asked_s = self._clock()
        return self._closed

    def _anybody(self, scope: Scope) -> Caller:
        if self._closed:
            return STRANGER
        check_host(header(scope, b"host"))
        return WHOEVER_IS_HERE

    async def _known(self, scope: Scope) -> Caller:
        if not await self.is_closed():
            check_host(header(scope, b"host"))
            self._take(f"here:{_address(scope)}")
            return WHOEVER_IS_HERE
        found = await self._found(header(scope, b"authorization"))
        if found is None:
            self._take(f"stranger:{_address(scope)}")
            raise KeyNeededError
        self._take(f"key:{found.prefix}")
        return found.caller

    async def _found(self, authorization: bytes | None) -> Found | None:
        scheme, _, text = (authorization or b"").partition(b" ")
        return await self._desk.find_key(text) if scheme.lower() == b"bearer" else None

    def _take(self, caller: str) -> None:
        wait_s = self._rates.wait_s(caller)
        if wait_s > 0:
            raise TooManyRequestsError(wait_s)


class Needs:
    """A route's dependency: the caller, if it has the scope for *verb* on *resource*.

    *shared* resources belong to no pipeline, so that a key that is limited to some does not reach them.
    """

    def __init__(self, verb: Verb, resource: Resource, *, shared: bool = False) -> None:
        self.verb: Verb = verb
        self.resource: Resource = resource
        self.shared = shared

    def __call__(self, request: Request) -> Caller:
        """The caller. Raise `ForbiddenError`."""
        caller = caller_of(request)
        if not caller.may(self.verb, self.resource):
            raise ForbiddenError(f"The key needs the scope {self.verb} or {self.verb}:{self.resource}.")
        if self.shared and caller.pipelines is not None:
            raise ForbiddenError(f"The key is limited to pipelines, and {self.resource} belong to none.")
        return caller


def signed_in(request: Request) -> Caller:
    """A route's dependency: any caller with a key, or on this machine while there are none."""
    return caller_of(request)


def caller_of(request: Request) -> Caller:
    """Who sent *request*; a stranger where nobody has looked."""
    caller: Caller = request.scope.get(CALLER, STRANGER)
    return caller


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
