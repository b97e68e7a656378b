"""Run a data pipeline once, as one container, and leave a trace of every item.

The public names resolve lazily, so that importing one costs only what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.flow.config import ETLPipelineConfig, ExecutionType, StageConfig
    from cableway.flow.pipeline import ETLPipeline
    from cableway.flow.tracker import ItemTracker
    from cableway.items import WorkItem, WorkItemMetadata, WorkItemResult

__all__ = [
    "ETLPipeline",
    "ETLPipelineConfig",
    "ExecutionType",
    "ItemTracker",
    "StageConfig",
    "WorkItem",
    "WorkItemMetadata",
    "WorkItemResult",
]

_HOMES = {
    "ETLPipeline": "cableway.flow.pipeline",
    "ETLPipelineConfig": "cableway.flow.config",
    "ExecutionType": "cableway.flow.config",
    "ItemTracker": "cableway.flow.tracker",
    "StageConfig": "cableway.flow.config",
    "WorkItem": "cableway.items",
    "WorkItemMetadata": "cableway.items",
    "WorkItemResult": "cableway.items",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
