"""
Connections of boto3's to addresses that were judged, as those of the HTTP blocs: a name is resolved once for each.

boto3 has no place for that, so its pool is given connections of another class. They take the address in the name's
stead while they connect; TLS and the Host header keep the name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cableway.blocs.http.backend import looked_up

if TYPE_CHECKING:
    from cableway.blocs.http.addresses import AddressGuard


def vet_connections(store: Any, guard: AddressGuard) -> None:
    """Have every connection that the client *store* makes go to an address that *guard* allows.

    Where there is none, a request fails with an error of botocore's that holds an `AddressRefusedError`.
    """
    library: Any = import_module("botocore.awsrequest")
    refused = import_module("urllib3.exceptions").HTTPError

    class Vetted:
        _dns_host: str
        port: int

        def _new_conn(self) -> Any:
            name = self._dns_host
            addresses = guard.vet(name, looked_up(name, self.port), f"{name}:{self.port}")
            try:
                for address in addresses:
                    self._dns_host = address
                    try:
                        return super()._new_conn()  # type: ignore[misc]
                    except refused:
                        if address == addresses[-1]:
                            raise
            finally:
                self._dns_host = name
            raise OSError(f"{name} has no address")

    pools: dict[str, Any] = {}
    for scheme, usual in (("http", library.AWSHTTPConnectionPool), ("https", library.AWSHTTPSConnectionPool)):
        connection = type("VettedConnection", (Vetted, usual.ConnectionCls), {})
        pools[scheme] = type("VettedPool", (usual,), {"ConnectionCls": connection})
    session = store._endpoint.http_session  # noqa: SLF001 - boto3 has no other way in
    session._manager.pool_classes_by_scheme = pools  # noqa: SLF001 - as above
