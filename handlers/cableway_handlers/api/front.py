"""What every request meets first: an id, the way to the hooks, and the gate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cableway.errors import CablewayError, UnavailableError
from cableway.store.ids import new_id
from cableway_handlers.api.asgi import REQUEST_ID, Application, Message, Receive, Scope, Send, send_problem
from cableway_handlers.api.hooks import PREFIX
from cableway_handlers.api.scopes import Caller

CALLER = "cableway.caller"
"""Where a request's scope holds its `Caller`."""

_log = logging.getLogger("cableway.api")


class Admission(Protocol):
    """Says who sends a request, or raises why it does not come in."""

    async def admit(self, scope: Scope) -> Caller:
        """Who sent it."""
        ...


@dataclass(frozen=True, slots=True)
class Front:
    """Hooks are signed and may come through any proxy; all else comes through the gate, which is closed by default."""

    app: Application
    hooks: Application
    gate: Admission
    leaving: Callable[[], bool] = lambda: False
    """Whether this process is about to end, so that callers should connect anew."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope[REQUEST_ID] = request_id = new_id()
        marked = self._marked(send, request_id)
        if scope["path"].startswith(PREFIX):
            return await self.hooks(scope, receive, marked)
        try:
            scope[CALLER] = await self.gate.admit(scope)
        except CablewayError as error:
            if isinstance(error, UnavailableError):
                _log.warning("request %s was answered 503: %s", request_id, error)
            return await send_problem(marked, error, request_id)
        return await self.app(scope, receive, marked)

    def _marked(self, send: Send, request_id: str) -> Send:
        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if self.leaving():
                    headers.append((b"connection", b"close"))
            await send(message)

        return mark
