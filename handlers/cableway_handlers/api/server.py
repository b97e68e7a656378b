"""
The API behind a socket: uvicorn, with the schema made sure of before it listens, and the scheduler beside it.

SIGTERM and SIGINT end it: what is under way is answered first. SIGHUP replaces it: the same command is started
anew on the same socket, and once that serves, this process answers what it has and goes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress

import uvicorn

from cableway.settings import Settings
from cableway.store.connect import connect
from cableway.store.executor import Executor
from cableway.store.migrations import ensure_schema
from cableway_handlers.api.app import Access, create_app
from cableway_handlers.api.asgi import Application
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.hosts import check_listening, is_loopback
from cableway_handlers.api.keys import count_keys
from cableway_handlers.api.laggards import LOOK_EVERY_TICKS, Laggards
from cableway_handlers.api.listening import OURS, Listener, hand_over, inherited, opened
from cableway_handlers.api.one_write import OneWriteProtocol
from cableway_handlers.api.resources.desk import PartState
from cableway_handlers.cron.service import SchedulerService
from cableway_handlers.launch.protocol import Launch, Launcher
from cableway_handlers.launch.sweep import Sweep
from cableway_handlers.launch.sweep_loop import SweepLoop

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000

STOP_S = 10
"""Seconds that requests under way get after SIGTERM."""

LINGER_S = 1.0
"""Seconds in which idle connections may still send, and are told to come again, before they are closed."""

_log = logging.getLogger("cableway.api")


def serve(
    settings: Settings,
    launcher: Launcher,
    *,
    environment: Mapping[str, str],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    scheduler: bool = False,
    scheduler_names: Sequence[str] | None = None,
    on_listening: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT; *on_listening* is told the address once requests are answered.

    With *scheduler* ticks are decided too, of *scheduler_names* alone where given. Raise `SettingsError` for a *host*
    beyond the loopback while there is no API key, `UnavailableError` where there is no Postgres or the port is taken,
    and `SchemaVersionError` for an older schema.
    """
    database = settings.state_database
    with connect(database) as connection:
        ensure_schema(connection, database)
        keys = Executor(connection, database).drive(count_keys())
    given = inherited(environment)
    check_listening(host if given is None else given.host, keys.live)
    listener = given or opened(host, port)
    with listener.socket:
        beside = Beside(settings, launcher, environment, scheduler=scheduler, names=scheduler_names)
        app = create_app(
            DatabaseDesk(database),
            beside,
            environment=environment,
            access=Access(closed=not is_loopback(listener.host)),
            scheduler_state=beside.state,
            leaving=lambda: server.leaving,
        )
        server = Server(_config(app), listener, environment, on_listening)
        beside.start()
        try:
            server.run(sockets=[listener.socket])
        finally:
            beside.close()


class Beside:
    """What runs beside the API: the sweep that launches, and the scheduler where it is wanted."""

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        environment: Mapping[str, str],
        *,
        scheduler: bool,
        names: Sequence[str] | None,
    ) -> None:
        self._sweeping = SweepLoop(Sweep.from_settings(settings, launcher))
        self._scheduler: SchedulerService | None = None
        if scheduler:
            self._scheduler = SchedulerService(settings, self._sweeping, variables=environment, names=names)
        self._open = False

    def start(self) -> None:
        """Launch what is added from now on, and with a scheduler decide its ticks; returns at once."""
        self._open = True
        (self._scheduler or self._sweeping).start()

    def add(self, launch: Launch) -> bool:
        """Launch soon, without blocking."""
        return self._sweeping.add(launch)

    def state(self) -> PartState:
        """How the scheduler is."""
        if self._scheduler is None:
            return "off"
        return "up" if self._scheduler.is_up else "down"

    def close(self) -> None:
        """Return when the launches under way are made. May be called again."""
        if self._open:
            self._open = False
            (self._scheduler or self._sweeping).close()


class Server(uvicorn.Server):
    """Serves *listener*, and hands it over on SIGHUP."""

    leaving = False
    """Nothing new is taken; who is still connected is told to come again."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: Listener,
        variables: Mapping[str, str],
        on_listening: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._variables = variables
        self._on_listening = on_listening
        self._handing_over: asyncio.Task[None] | None = None
        self._laggards = Laggards(lambda: self.server_state.connections)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Let signals end us in good order: raised again at the end, they would cut off what comes after."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, then tell those who wait for it."""
        await super().startup(sockets)
        with suppress(ValueError, RuntimeError):  # signals are the main thread's
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hand_over)
        self._on_listening(self._listener.address)
        self._listener.say_ready()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end; now and then, cut off who comes to no request."""
        if counter % LOOK_EVERY_TICKS == 0:
            self._laggards.look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, answer what is under way, then close."""
        self.leaving = True
        for server in self.servers:
            server.close()
        # Whoever is between two requests would have its next one cut off: it is answered, and told to connect anew.
        # uvicorn tells nobody when its connections are gone.
        until = time.monotonic() + LINGER_S
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    def _hand_over(self) -> None:
        if self._handing_over is None or self._handing_over.done():
            self._handing_over = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        if await asyncio.to_thread(hand_over, self._listener, self._variables):
            self.should_exit = True


def without_listener(variables: Mapping[str, str]) -> dict[str, str]:
    """*variables* for the processes of runs, which have no part in our socket."""
    return {name: value for name, value in variables.items() if name not in OURS}


def _config(app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=OneWriteProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody's word about who asks or by which scheme is believed.
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
    )
