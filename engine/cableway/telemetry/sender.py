"""
One POST to a collector, tried again within a deadline and never longer.

The standard library's client, because the usual ones cost a job's start a quarter of a second and
do not keep to a deadline over a whole exchange.
"""

from __future__ import annotations

import gzip
import http.client
import ssl
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from cableway.telemetry.otlp import MalformedReplyError, rejected_count
from cableway.telemetry.settings import TelemetrySettings

RETRYABLE = frozenset({429, 502, 503, 504})
REPLY_LIMIT = 65_536
"""Bytes of a reply above which it is not read."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
PATIENCE_S = 1.0
"""How long a collector that is not there at all is looked for once the run has ended."""


class EndpointError(ValueError):
    """The endpoint, or a file that its TLS needs, cannot be used."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a request. ``rejected`` counts records of a delivered request that were not taken."""

    delivered: bool
    rejected: int = 0
    reason: str = ""


class _AgainError(Exception):
    """Worth another try, after ``wait_s`` if the collector was ``there`` to say so."""

    def __init__(self, reason: str, *, there: bool = False, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.there = there
        self.wait_s = wait_s


class Sender:
    """Posts to one URL over a connection that it keeps. `post` is for one thread; `hurry` and `stop` for any.

    Raise `EndpointError` where the URL or the TLS files make no sense.
    """

    def __init__(self, endpoint: str, settings: TelemetrySettings) -> None:
        self._url = _split(endpoint)
        self._timeout_s = settings.timeout_s
        self._gzip = settings.compression == "gzip"
        self._tls = _tls(settings) if self._url.scheme == "https" else None
        json = settings.protocol == "http/json"
        self._headers = {
            "User-Agent": "cableway",
            **settings.headers,
            "Content-Type": "application/json" if json else "application/x-protobuf",
            **({"Content-Encoding": "gzip"} if self._gzip else {}),
        }
        self._connection: http.client.HTTPConnection | None = None
        self._kept = False
        self._hurry = threading.Event()
        self._stopped = threading.Event()
        self._hurried_at = self._deadline = 0.0

    def hurry(self, deadline: float) -> None:
        """The run has ended: try nothing beyond *deadline*, a reading of `time.monotonic`."""
        self._hurried_at, self._deadline = time.monotonic(), deadline
        self._hurry.set()

    def stop(self) -> None:
        """Break off what is under way, so that nothing arrives after it was counted as lost."""
        self._stopped.set()
        self._hurry.set()
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            try:
                sock.shutdown(2)
            except OSError:
                return  # it has gone by itself

    def post(self, body: bytes) -> Delivery:
        """Deliver *body*, trying again where that can help. Never raises."""
        if self._gzip:
            body = gzip.compress(body, compresslevel=1, mtime=0)
        began = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while not self._stopped.is_set():
            try:
                return self._exchange(body, began)
            except _AgainError as again:
                wait_s = pause_s if again.wait_s is None else again.wait_s
                if time.monotonic() + wait_s >= self._last_moment(began, there=again.there):
                    return Delivery(delivered=False, reason=str(again))
                (self._stopped if self._hurry.is_set() else self._hurry).wait(wait_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            except Exception as error:
                # Such as a header that cannot be sent; its text may be a key, so only the type is told.
                self.close()
                return Delivery(delivered=False, reason=type(error).__name__)
        return Delivery(delivered=False, reason="stopped")

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection, self._kept = self._connection, None, False
        if connection is not None:
            connection.close()

    def _last_moment(self, began: float, *, there: bool) -> float:
        last = began + self._timeout_s
        if self._hurry.is_set():
            patience = self._deadline if there else max(began, self._hurried_at) + PATIENCE_S
            last = min(self._deadline, patience)
        return last

    def _exchange(self, body: bytes, began: float) -> Delivery:
        last = min(self._deadline if self._hurry.is_set() else float("inf"), time.monotonic() + self._timeout_s)
        left_s = max(0.05, last - time.monotonic())
        kept = self._kept
        try:
            reply = self._request(body, left_s)
            content = reply.read(REPLY_LIMIT + 1)
        except ssl.SSLCertVerificationError as error:
            self.close()
            return Delivery(delivered=False, reason=f"TLS: {error.verify_message}")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept and not self._stopped.is_set() and not isinstance(error, TimeoutError):
                # A collector may close a kept connection at any time; that says nothing about it.
                return self._exchange(body, began)
            raise _AgainError(_why(error)) from None
        if len(content) > REPLY_LIMIT or reply.will_close:
            self.close()
        else:
            self._kept = True
        return _judge(reply, content)

    def _request(self, body: bytes, timeout_s: float) -> http.client.HTTPResponse:
        connection = self._connection
        if connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._tls is not None:
                connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
            else:
                connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
            self._connection = connection
        elif connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        target = self._url.path or "/"
        connection.request("POST", f"{target}?{self._url.query}" if self._url.query else target, body, self._headers)
        return connection.getresponse()


def _judge(reply: http.client.HTTPResponse, content: bytes) -> Delivery:
    if reply.status in RETRYABLE:
        wait_s = _retry_after_s(reply.headers.get("Retry-After"))
        raise _AgainError(f"HTTP {reply.status}", there=True, wait_s=wait_s)
    if not 200 <= reply.status < 300:
        return Delivery(delivered=False, reason=f"HTTP {reply.status}")
    try:
        rejected = rejected_count(content[:REPLY_LIMIT], reply.headers.get("Content-Type", ""))
    except MalformedReplyError:
        # It said 200, and that is what counts.
        rejected = 0
    return Delivery(delivered=True, rejected=rejected, reason=f"{rejected} rejected" if rejected else "")


def _retry_after_s(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _split(endpoint: str) -> SplitResult:
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        raise EndpointError("it is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        raise EndpointError("it is not an http or https URL with a host")
    if any(character <= " " or character == "\x7f" for character in endpoint):
        raise EndpointError("it has spaces or control characters in it")
    return url


def _tls(settings: TelemetrySettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.certificate)
        if settings.client_certificate is not None:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
    except (OSError, ValueError) as error:
        raise EndpointError(f"its TLS files cannot be read: {_why(error)}") from None
    return context
