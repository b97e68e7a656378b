"""A DuckDB for one bloc: in memory, bounded, and closed to files, networks and extensions unless it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cableway.blocs.tables import library

MEMORY_LIMIT = "512MB"


def query_fault(query: str) -> str | None:
    """What is wrong with *query*, which has to be one SELECT; None where nothing is, or where there is no DuckDB."""
    try:
        import duckdb
    except ModuleNotFoundError:
        return None
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        return str(error).partition("\n")[0]
    if len(statements) != 1:
        return f"must be one statement; it has {len(statements)}"
    kind = statements[0].type
    return None if kind == duckdb.StatementType.SELECT else f"must be a SELECT, and is {kind.name}"


def session(*, memory_limit: str = MEMORY_LIMIT, threads: int = 1, files: Sequence[str] = ()) -> Any:
    """A connection that reads nothing but the tables it is given and *files*, and spills nowhere."""
    duckdb = library("duckdb")
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "threads": threads,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        }
    )
    if files:
        connection.execute("SET allowed_paths = ?", [list(files)])
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
