"""Clients: `HttpClient` for any JSON service, `CablewayClient` and `AsyncCablewayClient` for Cableway's own API."""

from __future__ import annotations

from cableway_handlers.client.asynchronous import AsyncCablewayClient
from cableway_handlers.client.blocking import CablewayClient
from cableway_handlers.client.calls import DEFAULT_URL
from cableway_handlers.client.exchange import ClientError, ServiceUnavailableError
from cableway_handlers.client.http import HttpClient

__all__ = [
    "DEFAULT_URL",
    "AsyncCablewayClient",
    "CablewayClient",
    "ClientError",
    "HttpClient",
    "ServiceUnavailableError",
]
