"""Loaders of files, made and read by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from cableway.blocs.csv_files.loader import CsvLoaderBloc, CsvLoaderConfig
from cableway.blocs.kinds import LoaderBloc
from cableway.items import Rejected
from tests.unit.blocs.contexts import context_of

Loader = TypeVar("Loader", bound=LoaderBloc)
Items = list[tuple[str, Any]]

MADE: list[LoaderBloc] = []
"""Loaders that the test must not leave open; the fixture `closed` sees to them."""


def made(bloc: Loader) -> Loader:
    """*bloc*, which is closed when the test is over."""
    MADE.append(bloc)
    return bloc


def csv_loader(path: Path | str, **config: Any) -> CsvLoaderBloc:
    """A loader of CSV files."""
    return made(CsvLoaderBloc("load", CsvLoaderConfig(file_path=str(path), **config)))


def load(bloc: LoaderBloc) -> Any:
    """What *bloc* gives."""
    bloc.open(context_of(bloc))
    return bloc.load(context_of(bloc))


def items(bloc: LoaderBloc) -> Items:
    """What *bloc* gives, one after the other: positions with columns, or with a row that it refuses."""
    return [(position, value if isinstance(value, Rejected) else value.to_pydict()) for position, value in load(bloc)]


def whole(path: Path | str, **config: Any) -> dict[str, list[Any]]:
    """The columns of a CSV file that is loaded at once."""
    rows: dict[str, list[Any]] = load(csv_loader(path, **config)).to_pydict()
    return rows
