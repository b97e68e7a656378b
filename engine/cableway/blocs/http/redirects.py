"""Where an answer that leads elsewhere leads, and what is taken along."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cableway.blocs.http.addresses import parsed
from cableway.blocs.http.message import Reply, Request
from cableway.errors import AddressRefusedError, HttpError

if TYPE_CHECKING:
    from httpx import URL

MOST = 5
"""Redirects that one request follows."""

STATUSES = frozenset({301, 302, 303, 307, 308})
_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language"})
_TO_STRANGERS = frozenset({"accept", "accept-language", "user-agent"})


def same_origin(one: URL, other: URL) -> bool:
    """Whether both lead to one scheme, host and port."""
    return (one.scheme, one.raw_host, _port(one)) == (other.scheme, other.raw_host, _port(other))


def next_request(request: Request, reply: Reply) -> Request:
    """What to send where *reply* leads: to another origin without what was meant for this one.

    A POST becomes a GET, except by 307 and 308. Raise `HttpError` (``redirect``) where it leads nowhere, from https to
    http, or a body to another origin, and `AddressRefusedError` where no request may go.
    """
    url = _target(request, reply)
    if request.url.scheme == "https" and url.scheme == "http":
        raise _refused(request, "leads from https to http")
    if reply.status == 303 or (reply.status in {301, 302} and request.method == "POST"):
        method = "HEAD" if request.method == "HEAD" else "GET"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_BODY}
        request = replace(request, method=method, body=None, headers=headers)
    if not same_origin(request.url, url):
        if request.body is not None:
            raise _refused(request, f"leads with the request's body to {url.host}; ask there in the first place")
        kept = {name: value for name, value in request.headers.items() if name.lower() in _TO_STRANGERS}
        request = replace(request, headers=kept)
    return replace(request, url=url, query=b"")


def _target(request: Request, reply: Reply) -> URL:
    import httpx

    location = reply.headers.get("location", "")
    if not location:
        raise _refused(request, "leads nowhere: there is no Location")
    try:
        return parsed(str(request.url.join(location)))
    except httpx.InvalidURL:
        raise _refused(request, "leads to no URL") from None
    except AddressRefusedError as error:
        raise AddressRefusedError(
            f"answered with a redirect whose URL {error.message}", place=request.place, reason="address"
        ) from None


def _refused(request: Request, message: str) -> HttpError:
    return HttpError(f"answered with a redirect that {message}", place=request.place, reason="redirect")


def _port(url: URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
