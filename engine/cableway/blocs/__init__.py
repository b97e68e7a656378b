"""The blocs that ship with Cableway, one per file, and the classes that bloc authors extend.

Names resolve lazily, so that importing one loads nothing of the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.blocs.aggregate import AggregateBloc
    from cableway.blocs.csv_loader import CsvLoaderBloc
    from cableway.blocs.example_transformer import ExampleTransformerBloc
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
    from cableway.blocs.pass_through import PassThroughBloc
    from cableway.blocs.postgres_exporter import PostgresExporterBloc
    from cableway.context import RunContext

__all__ = [
    "AggregateBloc",
    "Bloc",
    "CsvLoaderBloc",
    "Ending",
    "ExampleTransformerBloc",
    "ExporterBloc",
    "LinePlace",
    "LoaderBloc",
    "PassThroughBloc",
    "PostgresExporterBloc",
    "Resources",
    "RunContext",
    "TransformerBloc",
    "Written",
]

_HOMES = {
    "AggregateBloc": "cableway.blocs.aggregate",
    "Bloc": "cableway.blocs.kinds",
    "CsvLoaderBloc": "cableway.blocs.csv_loader",
    "Ending": "cableway.blocs.kinds",
    "ExampleTransformerBloc": "cableway.blocs.example_transformer",
    "ExporterBloc": "cableway.blocs.kinds",
    "LinePlace": "cableway.blocs.kinds",
    "LoaderBloc": "cableway.blocs.kinds",
    "PassThroughBloc": "cableway.blocs.pass_through",
    "PostgresExporterBloc": "cableway.blocs.postgres_exporter",
    "Resources": "cableway.blocs.kinds",
    "RunContext": "cableway.context",
    "TransformerBloc": "cableway.blocs.kinds",
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
