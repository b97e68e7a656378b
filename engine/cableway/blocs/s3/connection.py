"""A connection to an object store, and its errors in our words."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le

from cableway.blocs.http.options import as_config, url_faults
from cableway.errors import (
    AddressRefusedError,
    CredentialsError,
    DefinitionError,
    ObjectStoreError,
    ObjectStoreReason,
    SourceChangedError,
    UnavailableError,
)
from cableway.redaction import guard, redacted

if TYPE_CHECKING:
    from cableway.blocs.http.addresses import AddressGuard
    from cableway.settings import HttpSettings

_REASONS: dict[str, ObjectStoreReason] = {
    **dict.fromkeys(
        ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled"),
        "denied",
    ),
    **dict.fromkeys(("NoSuchKey", "NoSuchBucket", "NoSuchUpload", "404"), "missing"),
    **dict.fromkeys(
        ("SlowDown", "503", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"),
        "throttled",
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), "clock"),
    **dict.fromkeys(("IncompleteBody", "RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch"), "truncated"),
    **dict.fromkeys(("InternalError", "500", "502", "504", "ServiceUnavailable"), "unavailable"),
}
_ADVICE: dict[ObjectStoreReason, str] = {
    "denied": "may not be used with these credentials; check them and the policy",
    "missing": "is not there; check bucket and key",
    "throttled": "the store asks for less, and went on to after several attempts",
    "clock": "the store takes this machine's clock for wrong; set it",
    "truncated": "what was sent or received is not whole",
    "unavailable": "the store does not answer",
    "refused": "the store refused",
}
_BROKEN = frozenset({"IncompleteReadError", "ResponseStreamingError", "FlexibleChecksumError", "ConnectionClosedError"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccess:
    """Which object store, and who we are to it. What is unset is found as every AWS tool finds it."""

    endpoint_url: str | None = None
    """The store's address, where it is not AWS; unset: that of `AWS_ENDPOINT_URL`, else AWS."""
    region: str | None = None
    """The region; unset: that of the environment."""
    access_key_id: str | None = None
    """The key's id."""
    secret_access_key: str | None = None
    """The key, a reference to a secret."""
    session_token: str | None = None
    """The token of a session, a reference to a secret."""
    attempts: Annotated[int, Ge(1), Le(10)] = 4
    """Times that one request is sent in all."""
    idle_s: Annotated[float, Gt(0), Le(3600)] = 60.0
    """Seconds that may pass without a byte."""


def access_faults(access: StoreAccess) -> Iterator[tuple[str, str]]:
    """What is wrong with it that its types cannot say."""
    if access.endpoint_url is not None:
        yield from url_faults("access/endpoint_url", access.endpoint_url)
    if (access.access_key_id is None) != (access.secret_access_key is None):
        yield "access/access_key_id", "and secret_access_key go together"
    for name in ("secret_access_key", "session_token"):
        value = getattr(access, name)
        if value and "${secret:" not in value and redacted(value) == value:
            yield f"access/{name}", "is a secret, and a definition is no place for one; write ${secret:NAME}"


def connect(given: Any, settings: HttpSettings | None) -> Any:
    """A client of boto3's. It may be used by several threads.

    Raise `DefinitionError` where boto3 is not installed or the access is incomplete, and `AddressRefusedError` where
    the definition names an endpoint that no request may go to (one that the environment names is the operator's).
    """
    access = as_config(StoreAccess, given) or StoreAccess()
    boto3, config = _library("boto3"), _library("botocore.config")
    guard(text for text in (access.secret_access_key, access.session_token) if text)
    options: dict[str, Any] = {}
    if access.endpoint_url is not None:
        _vet(access.endpoint_url, settings)
        options = {"s3": {"addressing_style": "path"}, "proxies": _proxies(settings)}
    with faults("the object store"):
        store = boto3.session.Session(botocore_session=_session()).client(
            "s3",
            endpoint_url=access.endpoint_url,
            region_name=access.region,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            aws_session_token=access.session_token,
            config=config.Config(
                retries={"mode": "standard", "total_max_attempts": access.attempts},
                connect_timeout=min(access.idle_s, 20.0),
                read_timeout=access.idle_s,
                # Stores of others do not know the checksums that AWS takes.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                **options,
            ),
        )
    if access.endpoint_url is not None and not options["proxies"]:
        from cableway.blocs.s3.vetted import vet_connections

        vet_connections(store, _address_guard(settings))
    return store


@contextmanager
def faults(place: str) -> Generator[None]:
    """Say errors of boto3's in our words, naming *place*: the store's own may hold more than is anybody's business."""
    try:
        yield
    except Exception as error:
        made = _said(error, place)
        if made is None:
            raise
        raise made from None


def _said(error: Exception, place: str) -> Exception | None:
    if not type(error).__module__.startswith(("botocore", "boto3", "urllib3")):
        return None
    inner: Any = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, AddressRefusedError):
        return AddressRefusedError(inner.message, place=place, reason="address")
    kind = type(error).__name__
    response: Any = getattr(error, "response", None)
    if response is None:
        return _without_answer(kind, place)
    code = str(response.get("Error", {}).get("Code", ""))
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if status == "412":
        return SourceChangedError(f"{place}: has changed since it was looked at")
    reason = _REASONS.get(code) or _REASONS.get(status) or "refused"
    return ObjectStoreError(f"{_ADVICE[reason]} ({code or status})", place=place, reason=reason)


def _without_answer(kind: str, place: str) -> Exception:
    if kind in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}:
        return CredentialsError(f"{place}: there are no credentials for the object store; set 'access', or AWS_*")
    if kind in {"NoRegionError", "InvalidRegionError", "ParamValidationError", "InvalidEndpointConfigurationError"}:
        return DefinitionError(f"{place}: cannot be asked for ({kind}); check region, bucket and key")
    reason: ObjectStoreReason = "truncated" if kind in _BROKEN else "unavailable"
    return ObjectStoreError(f"{_ADVICE[reason]} ({kind})", place=place, reason=reason)


def _vet(url: str, settings: HttpSettings | None) -> None:
    """Judge the endpoint before anything is asked of it. Through a proxy a name is the proxy's to resolve."""
    from cableway.blocs.http.addresses import parsed, place_of
    from cableway.blocs.http.backend import looked_up

    target = parsed(url)
    if _proxies(settings) and not _is_address(target.host):
        return
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        found = looked_up(target.host, port)
    except OSError:
        raise UnavailableError(f"{target.host}: the object store's host has no address") from None
    _address_guard(settings).vet(target.host, found, place_of("GET", target))


def _proxies(settings: HttpSettings | None) -> dict[str, str]:
    """The proxy that the settings name. One that the environment names is not for what a definition may choose."""
    proxy = settings.proxy if settings is not None else None
    return {"http": proxy, "https": proxy} if proxy is not None else {}


def _address_guard(settings: HttpSettings | None) -> AddressGuard:
    from cableway.blocs.http.addresses import AddressGuard

    return AddressGuard(settings.allow if settings is not None else ())


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _session() -> Any:
    session = _library("botocore.session").get_session()
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Any:
    """What boto3 reads about S3, read once: that takes longer than the rest of a client."""
    return _library("botocore.loaders").create_loader()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise DefinitionError("object stores need boto3: install it with `pip install 'cableway[aws]'`") from None
