"""The API behind a socket: uvicorn on the loopback, with the schema made sure of before it listens."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

import uvicorn

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.store.connect import connect
from cableway.store.migrations import ensure_schema
from cableway_handlers.api.app import create_app
from cableway_handlers.api.asgi import Application
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.hosts import check_listening
from cableway_handlers.launch.pending import PendingLaunches
from cableway_handlers.launch.protocol import Launcher

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000

BACKLOG = 2048
"""Connections that may wait to be taken."""

STOP_S = 10
"""Seconds that requests under way get after SIGTERM."""


def serve(
    settings: DatabaseSettings,
    launcher: Launcher,
    *,
    environment: Mapping[str, str],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    on_listening: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT; *on_listening* is told the address once callers can connect.

    Raise `SettingsError` for a *host* beyond the loopback, `UnavailableError` where there is no
    Postgres or the port is taken, and `SchemaVersionError` for an older schema.
    """
    check_listening(host)
    with connect(settings) as connection:
        ensure_schema(connection, settings)
    app = create_app(DatabaseDesk(settings), PendingLaunches(launcher), environment=environment)
    with _listen(host, port) as listener:
        on_listening(_address(listener))
        uvicorn.Server(_config(app)).run(sockets=[listener])


def _config(app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody's word about who asks or by which scheme is believed.
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another --port"
        ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
