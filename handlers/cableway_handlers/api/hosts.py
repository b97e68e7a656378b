"""Which names this server answers to while no API key is configured: those of the loopback."""

from __future__ import annotations

import ipaddress

from cableway.errors import SettingsError
from cableway_handlers.api.problems import ForeignHostError


def check_listening(host: str) -> None:
    """Raise `SettingsError` unless *host* is of the loopback: beyond it everybody could start runs and read them."""
    if not _is_loopback(host):
        raise SettingsError(
            f"refusing to listen on {host}: no API key is configured, so this server answers on the loopback only. "
            "Use --host 127.0.0.1, and let a proxy that asks for credentials stand before it"
        )


def check_host(header: bytes | None) -> None:
    """Raise `ForeignHostError` unless the Host header names the loopback: a foreign page's requests name its own."""
    host = (header or b"").decode("latin-1")
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if not _is_loopback(name):
        raise ForeignHostError("Ask this server as localhost, 127.0.0.1 or [::1].")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
