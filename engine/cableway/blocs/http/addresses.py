"""
Where a request may go: to addresses that the whole internet can reach, and to those that are allowed.

A pipeline is data that many may write, and the job runs inside a network that trusts it. So every host
is resolved once, all its addresses are judged, and the connection goes to one that was judged
(`cableway.blocs.http.backend`), redirects included. `ipaddress` calls some addresses global that lead
elsewhere, so there is a list of our own beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from cableway.errors import AddressRefusedError, Fault, SettingsError

if TYPE_CHECKING:
    from httpx import URL

Address = IPv4Address | IPv6Address

_DENIED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' own
        "168.63.129.16/32",  # a cloud's host, by an address that looks public
        "192.0.0.0/24",
        "192.88.99.0/24",  # to the nearest 6to4 relay
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b::/96",  # an IPv4 address behind a translator
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and others that hold an address of somebody else's choice
        "2002::/16",  # 6to4, as well
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)\.?")


class AddressGuard:
    """Judges hosts and addresses; *allow* holds hosts (``.name`` for all below one) and networks that may be reached.

    Raise `SettingsError` naming an entry that is neither.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        self._domains: list[str] = []
        for entry in allow:
            self._add(entry)

    def allows_host(self, host: str) -> bool:
        """Whether *host* may be reached at whatever address it has."""
        name = _plain(host)
        return name in self._hosts or any(name.endswith(domain) for domain in self._domains)

    def refusal(self, address: Address) -> str | None:
        """Why no request may go to *address*; None where one may."""
        if isinstance(address, IPv6Address) and address in _MAPPED:
            mapped = address.ipv4_mapped
            return "is no public address" if mapped is None else self.refusal(mapped)
        if any(address in network for network in self._networks):
            return None
        denied = not address.is_global or address.is_multicast or any(address in network for network in _DENIED)
        return "is no public address" if denied else None

    def vet(self, host: str, addresses: Iterable[str], place: str) -> list[str]:
        """*addresses* of *host*, all of which may be reached. Raise `AddressRefusedError` where one may not."""
        vetted: list[str] = []
        trusted = self.allows_host(host)
        for text in addresses:
            address = ip_address(text.partition("%")[0])
            if not trusted and (reason := self.refusal(address)):
                raise AddressRefusedError(
                    f"{host} is at {address}, which {reason}; CABLEWAY_HTTP_ALLOW says what else may be reached",
                    place=place,
                    reason="address",
                )
            vetted.append(str(address))
        return vetted

    def _add(self, entry: str) -> None:
        if entry.startswith(".") and _HOST.fullmatch(entry[1:]):
            self._domains.append(_plain(entry))
            return
        try:
            self._networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            if not _HOST.fullmatch(entry) or _is_numeric(entry):
                message = "CABLEWAY_HTTP_ALLOW is a list such as localhost,.internal.example,10.0.0.0/8"
                raise SettingsError(message, [Fault("/CABLEWAY_HTTP_ALLOW", "invalid", message)]) from None
            self._hosts.add(_plain(entry))


def parsed(text: str) -> URL:
    """*text* as a URL that a request may be sent to, as far as one can tell without resolving it.

    Raise `AddressRefusedError` saying what is wrong. The message holds neither user, password nor query.
    """
    import httpx

    # Digits of other scripts would become an address only after this look at it.
    plain = unicodedata.normalize("NFKC", text)
    if any(ord(char) <= 32 or char in "\\\x7f" for char in text):
        raise _refused("holds a space, a backslash or a control character")
    try:
        url = httpx.URL(text)
        other = httpx.URL(plain) if plain != text else url
        port = url.port
    except (httpx.InvalidURL, ValueError):
        raise _refused("is no URL; write https://host/path") from None
    if url.scheme not in {"http", "https"}:
        raise _refused(f"has the scheme {url.scheme[:20]!r}; only http and https are spoken")
    if url.userinfo:
        raise _refused("holds a user or a password; say them under 'auth'")
    if port is not None and not 0 < port < 65536:
        raise _refused("names a port that there is not")
    for host in (url.raw_host.decode("ascii", "replace"), other.raw_host.decode("ascii", "replace")):
        if reason := host_fault(host, spelled_plainly=text.isascii()):
            raise _refused(reason)
    return url.copy_with(fragment=None)


def url_fault(text: str) -> str | None:
    """What is wrong with *text* as a URL for a config, where something is."""
    try:
        parsed(text)
    except AddressRefusedError as error:
        return error.message
    return None


def host_fault(host: str, *, spelled_plainly: bool = True) -> str | None:
    """What is wrong with *host*: a name, an IPv4 address, or an IPv6 address without brackets.

    Not *spelled_plainly*, some of the URL's characters are others than those of ASCII.
    """
    if not host:
        return "names no host"
    if ":" in host:
        try:
            ip_address(host)
        except ValueError:
            return "names no IPv6 address that can be told"
        return None if "%" not in host else "names the zone of an address"
    if not _HOST.fullmatch(host) or len(host) > 253:
        return "names a host that cannot be one"
    if _is_numeric(host):
        try:
            IPv4Address(host if spelled_plainly else "")
        except ValueError:
            # 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 are one address, and each reader sees another.
            return "writes an address in a form that reads differently to others; write it as four numbers"
    return None


def place_of(method: str, url: URL) -> str:
    """What is said of a request: its method and URL without the query, which may hold what is nobody's business."""
    return f"{method} {url.copy_with(query=None)}"


def _is_numeric(host: str) -> bool:
    return _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


def _plain(host: str) -> str:
    return host.rstrip(".").lower()


def _refused(message: str) -> AddressRefusedError:
    return AddressRefusedError(message, place="url", reason="address")
