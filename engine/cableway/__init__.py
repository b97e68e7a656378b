"""Run a data pipeline once, as one container, and leave a trace of every item.

The public names resolve lazily, so that importing one costs only what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.blocs.csv_files.loader import CsvLoaderBloc
    from cableway.blocs.kinds import ExporterBloc, LoaderBloc, TransformerBloc
    from cableway.blocs.postgres.exporter import PostgresExporterBloc
    from cableway.context import RunContext
    from cableway.flow.config import ETLPipelineConfig, ExecutionType, StageConfig
    from cableway.flow.pipeline import ETLPipeline
    from cableway.flow.tracker import ItemTracker
    from cableway.items import DROP, Rejected, WorkItem, WorkItemMetadata, WorkItemResult
    from cableway.storage import DatabaseStorage

__all__ = [
    "DROP",
    "CsvLoaderBloc",
    "DatabaseStorage",
    "ETLPipeline",
    "ETLPipelineConfig",
    "ExecutionType",
    "ExporterBloc",
    "ItemTracker",
    "LoaderBloc",
    "PostgresExporterBloc",
    "Rejected",
    "RunContext",
    "StageConfig",
    "TransformerBloc",
    "WorkItem",
    "WorkItemMetadata",
    "WorkItemResult",
]

_HOMES = {
    "DROP": "cableway.items",
    "CsvLoaderBloc": "cableway.blocs.csv_files.loader",
    "DatabaseStorage": "cableway.storage",
    "ETLPipeline": "cableway.flow.pipeline",
    "ETLPipelineConfig": "cableway.flow.config",
    "ExecutionType": "cableway.flow.config",
    "ExporterBloc": "cableway.blocs.kinds",
    "ItemTracker": "cableway.flow.tracker",
    "LoaderBloc": "cableway.blocs.kinds",
    "PostgresExporterBloc": "cableway.blocs.postgres.exporter",
    "Rejected": "cableway.items",
    "RunContext": "cableway.context",
    "StageConfig": "cableway.flow.config",
    "TransformerBloc": "cableway.blocs.kinds",
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
