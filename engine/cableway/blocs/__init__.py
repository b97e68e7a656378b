"""The blocs that ship with Cableway, one per file, and the classes that bloc authors extend.

Names resolve lazily, so that importing one loads nothing of the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.blocs.aggregate import AggregateBloc
    from cableway.blocs.api_loader import ApiLoaderBloc
    from cableway.blocs.check import CheckBloc
    from cableway.blocs.csv_files.exporter import CsvExporterBloc
    from cableway.blocs.csv_files.loader import CsvLoaderBloc
    from cableway.blocs.example_transformer import ExampleTransformerBloc
    from cableway.blocs.http_call import HttpCallBloc
    from cableway.blocs.jsonl_exporter import JsonlExporterBloc
    from cableway.blocs.jsonl_loader import JsonlLoaderBloc
    from cableway.blocs.kinds import (
        Bloc,
        Ending,
        ExporterBloc,
        LinePlace,
        LoaderBloc,
        Resources,
        TransformerBloc,
        Written,
    )
    from cableway.blocs.notify import NotifyBloc
    from cableway.blocs.parquet_exporter import ParquetExporterBloc
    from cableway.blocs.parquet_loader import ParquetLoaderBloc
    from cableway.blocs.pass_through import PassThroughBloc
    from cableway.blocs.postgres.exporter import PostgresExporterBloc
    from cableway.blocs.postgres.loader import PostgresLoaderBloc
    from cableway.blocs.python_function import PythonBloc
    from cableway.blocs.refresh_webhooks import RefreshWebhooksBloc
    from cableway.blocs.run_adk_agents import RunAdkAgentsBloc
    from cableway.blocs.s3_exporter import S3ExporterBloc
    from cableway.blocs.s3_loader import S3LoaderBloc
    from cableway.blocs.shaping.cast import CastBloc
    from cableway.blocs.shaping.deduplicate import DeduplicateBloc
    from cableway.blocs.shaping.filter import FilterBloc
    from cableway.blocs.shaping.rename import RenameBloc
    from cableway.blocs.shaping.select import SelectBloc
    from cableway.blocs.sql import SqlBloc
    from cableway.blocs.sql_loader import SqlLoaderBloc
    from cableway.blocs.webhook_exporter import WebhookExporterBloc
    from cableway.context import RunContext

__all__ = [
    "AggregateBloc",
    "ApiLoaderBloc",
    "Bloc",
    "CastBloc",
    "CheckBloc",
    "CsvExporterBloc",
    "CsvLoaderBloc",
    "DeduplicateBloc",
    "Ending",
    "ExampleTransformerBloc",
    "ExporterBloc",
    "FilterBloc",
    "HttpCallBloc",
    "JsonlExporterBloc",
    "JsonlLoaderBloc",
    "LinePlace",
    "LoaderBloc",
    "NotifyBloc",
    "ParquetExporterBloc",
    "ParquetLoaderBloc",
    "PassThroughBloc",
    "PostgresExporterBloc",
    "PostgresLoaderBloc",
    "PythonBloc",
    "RefreshWebhooksBloc",
    "RenameBloc",
    "Resources",
    "RunAdkAgentsBloc",
    "RunContext",
    "S3ExporterBloc",
    "S3LoaderBloc",
    "SelectBloc",
    "SqlBloc",
    "SqlLoaderBloc",
    "TransformerBloc",
    "WebhookExporterBloc",
    "Written",
]

_HOMES = {
    "AggregateBloc": "cableway.blocs.aggregate",
    "ApiLoaderBloc": "cableway.blocs.api_loader",
    "Bloc": "cableway.blocs.kinds",
    "CastBloc": "cableway.blocs.shaping.cast",
    "CheckBloc": "cableway.blocs.check",
    "CsvExporterBloc": "cableway.blocs.csv_files.exporter",
    "CsvLoaderBloc": "cableway.blocs.csv_files.loader",
    "DeduplicateBloc": "cableway.blocs.shaping.deduplicate",
    "Ending": "cableway.blocs.kinds",
    "ExampleTransformerBloc": "cableway.blocs.example_transformer",
    "ExporterBloc": "cableway.blocs.kinds",
    "FilterBloc": "cableway.blocs.shaping.filter",
    "HttpCallBloc": "cableway.blocs.http_call",
    "JsonlExporterBloc": "cableway.blocs.jsonl_exporter",
    "JsonlLoaderBloc": "cableway.blocs.jsonl_loader",
    "LinePlace": "cableway.blocs.kinds",
    "LoaderBloc": "cableway.blocs.kinds",
    "NotifyBloc": "cableway.blocs.notify",
    "ParquetLoaderBloc": "cableway.blocs.parquet_loader",
    "ParquetExporterBloc": "cableway.blocs.parquet_exporter",
    "PassThroughBloc": "cableway.blocs.pass_through",
    "PostgresExporterBloc": "cableway.blocs.postgres.exporter",
    "PostgresLoaderBloc": "cableway.blocs.postgres.loader",
    "PythonBloc": "cableway.blocs.python_function",
    "RefreshWebhooksBloc": "cableway.blocs.refresh_webhooks",
    "RenameBloc": "cableway.blocs.shaping.rename",
    "Resources": "cableway.blocs.kinds",
    "RunAdkAgentsBloc": "cableway.blocs.run_adk_agents",
    "RunContext": "cableway.context",
    "S3ExporterBloc": "cableway.blocs.s3_exporter",
    "S3LoaderBloc": "cableway.blocs.s3_loader",
    "SelectBloc": "cableway.blocs.shaping.select",
    "SqlBloc": "cableway.blocs.sql",
    "SqlLoaderBloc": "cableway.blocs.sql_loader",
    "TransformerBloc": "cableway.blocs.kinds",
    "WebhookExporterBloc": "cableway.blocs.webhook_exporter",
    "Written": "cableway.blocs.kinds",
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
