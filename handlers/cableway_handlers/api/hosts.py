"""Which names this server answers to while no API key is configured: those of the loopback."""

from __future__ import annotations

import ipaddress

from cableway.errors import SettingsError
from cableway_handlers.api.problems import ForeignHostError


def check_listening(host: str, live_keys: int = 0) -> None:
    """Raise `SettingsError` unless *host* is of the loopback, or there are keys: everybody could start runs else."""
    if not is_loopback(host) and not live_keys:
        raise SettingsError(
            f"refusing to listen on {host}: there is no valid API key, so this server would answer everybody. Make one "
            "with `cableway keys create NAME --scope admin`, or listen on this machine alone with --host 127.0.0.1"
        )


def check_host(header: bytes | None) -> None:
    """Raise `ForeignHostError` unless the Host header names the loopback: a foreign page's requests name its own."""
    host = (header or b"").decode("latin-1")
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if not is_loopback(name):
        raise ForeignHostError("Ask this server as localhost, 127.0.0.1 or [::1].")


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine as only this machine can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
