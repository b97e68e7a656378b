"""
For people's own tests of handlers, blocs and pipelines: a fake clock and functions that run them.

The names resolve lazily, so that the pytest plugin costs a test run without pipelines nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.testing.blocs import run_bloc, run_bloc_async
    from cableway.testing.clock import FakeClock
    from cableway.testing.loop import StalledError
    from cableway.testing.pipelines import run_pipeline, run_pipeline_async
    from cableway.testing.report import RunReport
    from cableway.testing.stages import (
        ItemReport,
        StagesReport,
        run_handler,
        run_handler_async,
        run_stage,
        run_stages,
        run_stages_async,
    )

__all__ = [
    "FakeClock",
    "ItemReport",
    "RunReport",
    "StagesReport",
    "StalledError",
    "run_bloc",
    "run_bloc_async",
    "run_handler",
    "run_handler_async",
    "run_pipeline",
    "run_pipeline_async",
    "run_stage",
    "run_stages",
    "run_stages_async",
]

_HOMES = {
    "FakeClock": "clock",
    "ItemReport": "stages",
    "RunReport": "report",
    "StagesReport": "stages",
    "StalledError": "loop",
    "run_bloc": "blocs",
    "run_bloc_async": "blocs",
    "run_handler": "stages",
    "run_handler_async": "stages",
    "run_pipeline": "pipelines",
    "run_pipeline_async": "pipelines",
    "run_stage": "stages",
    "run_stages": "stages",
    "run_stages_async": "stages",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
