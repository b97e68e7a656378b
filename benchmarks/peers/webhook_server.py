"""One worker that serves webhooks until it is ended: ``ours``, with a launcher that only records, or ``plain``."""

from __future__ import annotations

import os
import socket
import sys

import uvicorn

from cableway_handlers.api.one_write import OneWriteProtocol


class OnlyRecords:
    """Where the API leaves launches; nothing is started."""

    launched = 0

    def add(self, launch: object) -> bool:
        """Count it."""
        self.launched += 1
        return True

    def close(self) -> None:
        """Nothing is under way."""


def application() -> object:
    if sys.argv[1] == "plain":
        from benchmarks.peers.plain_webhooks import app

        return app
    from cableway.settings import DatabaseSettings
    from cableway_handlers.api.app import create_app
    from cableway_handlers.api.database import DatabaseDesk

    desk = DatabaseDesk(DatabaseSettings(url=os.environ["DATABASE_URL"], prepare_threshold=5))
    return create_app(desk, OnlyRecords(), environment=os.environ)


def main() -> None:
    config = uvicorn.Config(
        application(),  # type: ignore[arg-type]  # an application of either kind
        http="httptools" if sys.argv[1] == "plain" else OneWriteProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
