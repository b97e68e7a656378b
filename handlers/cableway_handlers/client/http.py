"""A client for any service that speaks JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from cableway_handlers.client.exchange import TIMEOUT_S, Call, answered, tls_for, wait_after


class HttpClient:
    """Sends requests below *base_url* and returns the JSON that comes back; to be closed, or used in a ``with``.

    *auth_token* is sent as a bearer token, to this service alone: redirects are not followed. Requests that did not
    get through are sent again, with growing waits or as long as ``Retry-After`` says. Each method raises
    `ClientError` for an answer that is an error, `ServiceUnavailableError` where there was none.
    """

    def __init__(
        self,
        base_url: str,
        auth_token: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"accept": "application/json"}
        if auth_token is not None:
            headers["authorization"] = f"Bearer {auth_token}"
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport, verify=tls_for(base_url)
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """What is at *path*."""
        return self.send(Call(method="GET", path=path, query=params or {}, repeatable=True))

    def post(self, path: str, json_data: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """What comes of *json_data*, posted to *path*. It is sent again only where the service cannot have acted."""
        return self.send(Call(method="POST", path=path, json=json_data, headers=headers or {}))

    def put(self, path: str, json_data: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """What comes of *json_data*, put at *path*."""
        return self.send(Call(method="PUT", path=path, json=json_data, headers=headers or {}, repeatable=True))

    def delete(self, path: str, *, headers: Mapping[str, str] | None = None) -> Any:
        """What comes of deleting what is at *path*."""
        return self.send(Call(method="DELETE", path=path, headers=headers or {}))

    def send(self, call: Call) -> Any:
        """What *call* is answered with."""
        tries = 0
        while True:
            tries += 1
            outcome: httpx.Response | httpx.HTTPError
            try:
                outcome = self._client.send(call.request(self._client))
            except httpx.HTTPError as error:
                outcome = error
            wait_s = wait_after(outcome, call, tries)
            if wait_s is None:
                return answered(outcome, call)
            time.sleep(wait_s)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
