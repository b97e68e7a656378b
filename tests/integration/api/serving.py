"""A server in a thread, for as long as a `with` lasts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from cableway_handlers.api.asgi import Application
from cableway_handlers.api.one_write import OneWriteProtocol

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of the loopback: to read the authorities of the world takes longer than most tests."""


@contextmanager
def serving(app: Application) -> Generator[str]:
    """The address of *app*, lifespan included."""
    config = uvicorn.Config(app, http=OneWriteProtocol, lifespan="on", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that *response* is."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:cableway:error:{code}")
    return problem
