"""The interpreter lane's part of `tests.integration.job.leaking`: no pydantic here."""

from __future__ import annotations

from typing import Any

from cableway.context import RunContext


def leak(config: dict[str, Any], context: RunContext) -> Any:
    context.log.warning("plain %s", config["token"])
    raise ValueError(f"{config} and {config['token']!s}")
