"""Who sends: the OpenTelemetry resource. Loaded only with an endpoint, and in a thread, for the SDK is slow to load."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cableway.telemetry.otlp import Resource
from cableway.telemetry.record import AttributeValue, bounded
from cableway.telemetry.settings import TelemetrySettings


def package_version() -> str:
    """The version of Cableway that runs."""
    try:
        return version("cableway")
    except PackageNotFoundError:
        return "0"


def sdk_resource(settings: TelemetrySettings, run: Mapping[str, str]) -> Any:
    """The SDK's resource: ours and the environment's attributes, and what its detectors find."""
    from opentelemetry.sdk.resources import Resource as SdkResource

    return SdkResource.create(_own(settings, run))


def resource(settings: TelemetrySettings, run: Mapping[str, str]) -> Resource:
    """The resource that spans are sent with; where the SDK is not installed, our own part of it."""
    try:
        found = sdk_resource(settings, run)
    except ImportError:
        return Resource(_clean(_own(settings, run)))
    return Resource(_clean(found.attributes), found.schema_url)


def _own(settings: TelemetrySettings, run: Mapping[str, str]) -> dict[str, Any]:
    return {
        "telemetry.sdk.language": "python",
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "service.version": package_version(),
        "service.instance.id": run.get("cableway.run.id", ""),
        **run,
        **settings.resource_attributes,
        "service.name": settings.service_name,
    }


def _clean(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    found = {key: bounded(value) for key, value in attributes.items() if key}
    return {key: value for key, value in found.items() if value is not None and value != ""}
