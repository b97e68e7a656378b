"""The API's client for programs with an event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import httpx

from cableway_handlers.client import calls
from cableway_handlers.client.asking import Awaits
from cableway_handlers.client.definitions import Definitions
from cableway_handlers.client.exchange import TIMEOUT_S, Call, answered, tls_for, wait_after
from cableway_handlers.client.records import Records


class AsyncCablewayClient(Definitions, Records, Awaits):
    """As `CablewayClient`, with methods to be awaited. To be closed, or used in an ``async with``."""

    def __init__(
        self,
        base_url: str = calls.DEFAULT_URL,
        auth_token: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"accept": "application/json"}
        if auth_token is not None:
            headers["authorization"] = f"Bearer {auth_token}"
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport, verify=tls_for(base_url)
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, call: Call) -> Any:
        """What *call*, a request of one's own making, is answered with."""
        tries = 0
        while True:
            tries += 1
            outcome: httpx.Response | httpx.HTTPError
            try:
                outcome = await self._client.send(call.request(self._client))
            except httpx.HTTPError as error:
                outcome = error
            wait_s = wait_after(outcome, call, tries)
            if wait_s is None:
                return answered(outcome, call)
            await asyncio.sleep(wait_s)
