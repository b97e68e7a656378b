"""
What telemetry is told: where spans and metrics go, how many, and how long a flush may take.

`TelemetrySettings.from_environ` reads the standard ``OTEL_*`` variables and a few of our own from
a mapping that the caller gives. As the OpenTelemetry specification asks, a value that makes no
sense is left out and named in ``warnings``; it never stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

Protocol = Literal["http/protobuf", "http/json"]
Compression = Literal["gzip", "none"]
OnFull = Literal["drop", "wait"]

T = TypeVar("T")
_NONE: Mapping[str, str] = MappingProxyType({})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class TelemetrySettings(NamedTuple):
    """Telemetry's settings. Without an endpoint nothing is exported and no OpenTelemetry is imported.

    A tuple, because making a frozen dataclass of this size takes a job's start milliseconds.
    """

    traces_endpoint: str | None = None
    """Full URL that spans are posted to."""
    metrics_endpoint: str | None = None
    """Full URL that metrics are posted to."""
    protocol: Protocol = "http/protobuf"
    headers: Mapping[str, str] = _NONE
    """Sent with each request; they may hold keys, so no ``repr`` shows them."""
    timeout_s: float = 10.0
    """The longest that one request may take, and that one batch is tried for while the run goes on."""
    compression: Compression = "none"
    certificate: str | None = None
    """File with the authorities to trust in place of the system's."""
    client_certificate: str | None = None
    client_key: str | None = None
    service_name: str = "cableway"
    resource_attributes: Mapping[str, str] = _NONE
    sample_ratio: float = 1.0
    """The share of items that get spans; failed and slowest items get them anyway."""
    on_full: OnFull = "drop"
    """What happens to spans when the queue is full: counted and dropped, or the flow waits for room."""
    queue_spans: int = 32_768
    batch_spans: int = 2_048
    """Spans in one request."""
    delay_s: float = 1.0
    """The longest that spans wait for a batch to fill."""
    metrics_interval_s: float = 60.0
    flush_deadline_s: float = 5.0
    """The longest that telemetry may hold up the end of a run, whatever the collector does."""
    local_spans: bool = True
    """Whether a bounded sample of the spans is kept with the run."""
    warnings: tuple[str, ...] = ()
    """What was wrong in the environment and has been left out, one sentence each."""

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._asdict().items() if name != "headers"}
        return f"TelemetrySettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def exports(self) -> bool:
        """Whether anything is sent anywhere."""
        return self.traces_endpoint is not None or self.metrics_endpoint is not None

    @property
    def records(self) -> bool:
        """Whether spans are made at all."""
        return self.traces_endpoint is not None or self.local_spans

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> TelemetrySettings:
        """The settings that *environ* asks for. Never raises: what is wrong is in ``warnings``."""
        return _Reader(environ).settings()


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._warnings: list[str] = []

    def settings(self) -> TelemetrySettings:
        resource = self._pairs("OTEL_RESOURCE_ATTRIBUTES")
        endpoint_less = self._flag("OTEL_SDK_DISABLED", default=False)
        return TelemetrySettings(
            traces_endpoint=None if endpoint_less else self._endpoint("TRACES"),
            metrics_endpoint=None if endpoint_less else self._endpoint("METRICS"),
            protocol=self._protocol(),
            headers=self._pairs("OTEL_EXPORTER_OTLP_HEADERS") | self._pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
            timeout_s=self._either("TIMEOUT", 10.0, _seconds),
            compression=self._either("COMPRESSION", "none", _compression),
            certificate=self._either("CERTIFICATE", None, str),
            client_certificate=self._either("CLIENT_CERTIFICATE", None, str),
            client_key=self._either("CLIENT_KEY", None, str),
            service_name=self._text("OTEL_SERVICE_NAME") or resource.get("service.name") or "cableway",
            resource_attributes=resource,
            sample_ratio=self._ratio(),
            on_full=self._parsed("CABLEWAY_TELEMETRY_ON_FULL", "drop", _on_full),
            queue_spans=self._parsed("OTEL_BSP_MAX_QUEUE_SIZE", 32_768, _count),
            batch_spans=self._parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2_048, _count),
            delay_s=self._parsed("OTEL_BSP_SCHEDULE_DELAY", 1.0, _milliseconds),
            metrics_interval_s=self._parsed("OTEL_METRIC_EXPORT_INTERVAL", 60.0, _milliseconds),
            flush_deadline_s=self._parsed("CABLEWAY_TELEMETRY_FLUSH_S", 5.0, _positive),
            local_spans=self._flag("CABLEWAY_LOCAL_SPANS", default=True),
            warnings=tuple(self._warnings),
        )

    def _endpoint(self, signal: str) -> str | None:
        if self._text(f"OTEL_{signal}_EXPORTER") == "none":
            return None
        own = self._text(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        if own:
            return own
        common = self._text("OTEL_EXPORTER_OTLP_ENDPOINT")
        return f"{common.rstrip('/')}/v1/{signal.lower()}" if common else None

    def _protocol(self) -> Protocol:
        asked = self._text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or self._text("OTEL_EXPORTER_OTLP_PROTOCOL")
        if asked == "http/json":
            return "http/json"
        if asked not in {"", "http/protobuf"}:
            self._warnings.append(f"OTEL_EXPORTER_OTLP_PROTOCOL is {asked!r}; http/protobuf is used")
        return "http/protobuf"

    def _ratio(self) -> float:
        sampler = self._text("OTEL_TRACES_SAMPLER").removeprefix("parentbased_")
        if sampler == "always_off":
            return 0.0
        if sampler == "always_on":
            return 1.0
        return self._parsed("OTEL_TRACES_SAMPLER_ARG", 1.0, _share)

    def _either(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        specific = f"OTEL_EXPORTER_OTLP_TRACES_{name}"
        return self._parsed(specific if self._text(specific) else f"OTEL_EXPORTER_OTLP_{name}", default, parse)

    def _parsed(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        text = self._text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            self._warnings.append(f"{name} is {text[:40]!r}, which makes no sense; {default!r} is used")
            return default

    def _flag(self, name: str, *, default: bool) -> bool:
        return self._parsed(name, default, _boolean)

    def _pairs(self, name: str) -> dict[str, str]:
        pairs: dict[str, str] = {}
        if not self._text(name):
            return pairs
        from urllib.parse import unquote  # it loads more than a job without an endpoint needs

        for member in filter(None, (part.strip() for part in self._text(name).split(","))):
            key, equals, value = member.partition("=")
            if equals and key.strip() and "\n" not in value and "\r" not in value:
                pairs[unquote(key.strip())] = unquote(value.strip())
            else:
                # The member itself may be half a key, so the warning does not show it.
                self._warnings.append(f"{name} has a member that is not key=value; it is left out")
        return pairs

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise ValueError(text)
    return number


def _milliseconds(text: str) -> float:
    return _positive(text) / 1000


def _seconds(text: str) -> float:
    # The specification says milliseconds, Python's own exporter says seconds, and both are in use;
    # nobody gives a collector less than a tenth of a second or more than that in seconds.
    number = _positive(text)
    return number if number < 100 else number / 1000


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10_000_000:
        raise ValueError(text)
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _compression(text: str) -> Compression:
    if text == "gzip":
        return "gzip"
    if text == "none":
        return "none"
    raise ValueError(text)


def _on_full(text: str) -> OnFull:
    if text == "wait":
        return "wait"
    if text == "drop":
        return "drop"
    raise ValueError(text)
