"""
The socket that the API listens on: made here, or taken over from whoever had it before.

A service manager may hand one over (``LISTEN_FDS``, as systemd does), and a server that is to be replaced hands its
own to its successor. The socket then outlives each of them, and with it every caller that waits to be taken.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cableway.errors import UnavailableError

BACKLOG = 2048
"""Connections that may wait to be taken."""

_NO_ADDRESS = frozenset({errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN})

READY_S = 60.0
"""Seconds within which a successor must be ready."""

LISTENER = "CABLEWAY_LISTENER_FD"
READY = "CABLEWAY_READY_FD"
OURS = frozenset({LISTENER, READY, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
"""Variables that mean this process alone, and none that it starts."""

_FIRST_FD = 3

_log = logging.getLogger("cableway.api")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and how to say that it is served now."""

    socket: socket.socket
    ready_fd: int | None = None

    @property
    def address(self) -> str:
        """Where callers connect to."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def host(self) -> str:
        """The address that it is bound to, without the port."""
        return str(self.socket.getsockname()[0])

    def say_ready(self) -> None:
        """Tell the server before us, if there is one, that it can go."""
        if self.ready_fd is not None:
            os.write(self.ready_fd, b"1")
            os.close(self.ready_fd)


def inherited(variables: Mapping[str, str]) -> Listener | None:
    """The listener that this process was started with; None where there is none."""
    if LISTENER in variables:
        ready = variables.get(READY)
        return Listener(_taken(int(variables[LISTENER])), None if ready is None else int(ready))
    if variables.get("LISTEN_PID") == str(os.getpid()) and variables.get("LISTEN_FDS") == "1":
        return Listener(_taken(_FIRST_FD))
    return None


def opened(host: str, port: int) -> Listener:
    """A listener of our own. Raise `UnavailableError` where the port is taken or the address none of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return Listener(socket.create_server((host, port), family=family, backlog=BACKLOG))
    except OSError as error:
        option = "--host" if error.errno in _NO_ADDRESS else "--port"
        raise UnavailableError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another {option}"
        ) from error


def hand_over(listener: Listener, variables: Mapping[str, str]) -> bool:
    """Start the same command anew with our listener, and return whether it serves within `READY_S`; blocks.

    *variables* are its environment. Where it does not come up it is ended, and we go on.
    """
    readable, writable = os.pipe()
    passed = (listener.socket.fileno(), writable)
    environment = {name: value for name, value in variables.items() if name not in OURS}
    environment |= {LISTENER: str(passed[0]), READY: str(writable)}
    try:
        try:
            child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment, pass_fds=passed)  # noqa: S603
        finally:
            # Once only the child has it, its end is told by the pipe as well.
            os.close(writable)
        if _said_something(readable):
            _log.info("process %d serves from now on", child.pid)
            child.returncode = 0  # it outlives us, and nobody waits for it
            return True
        child.kill()
        child.wait()
    except OSError:
        _log.exception("no successor could be started")
    finally:
        os.close(readable)
    _log.error("the successor did not come up within %g s, so this process goes on", READY_S)
    return False


def _said_something(readable: int) -> bool:
    return bool(select.select([readable], [], [], READY_S)[0]) and os.read(readable, 1) == b"1"


def _taken(number: int) -> socket.socket:
    os.set_inheritable(number, False)  # noqa: FBT003 - the function's own argument
    return socket.socket(fileno=number)
