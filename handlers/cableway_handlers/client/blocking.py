"""The API's client for programs that wait for each answer."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from cableway_handlers.client import calls
from cableway_handlers.client.asking import Waits
from cableway_handlers.client.definitions import Definitions
from cableway_handlers.client.exchange import TIMEOUT_S, Call
from cableway_handlers.client.http import HttpClient
from cableway_handlers.client.records import Records


class CablewayClient(Definitions, Records, Waits):
    """Asks the API at *base_url*; *auth_token* is an API key. To be closed, or used in a ``with``.

    What did not get through is sent again, and nothing is done twice by it. Each method raises `ClientError` for a
    refusal (its ``body`` is the problem, fault by fault) and `ServiceUnavailableError` where no answer came.
    """

    def __init__(
        self,
        base_url: str = calls.DEFAULT_URL,
        auth_token: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = HttpClient(base_url, auth_token, timeout_s=timeout_s, transport=transport)

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def send(self, call: Call) -> Any:
        """What *call*, a request of one's own making, is answered with."""
        return self._http.send(call)
