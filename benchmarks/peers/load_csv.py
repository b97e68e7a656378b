"""One way to load a CSV file into the table ``target``: ``load_csv.py WAY FILE``, with DATABASE_URL set.

Each loads its library where it needs it, so that no other pays for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 18


def raw(file: str) -> None:
    """The limit: the file's bytes, as they are, by COPY on one connection into a table that is there."""
    import psycopg

    with (
        psycopg.connect(_url()) as connection,
        Path(file).open("rb") as source,
        connection.cursor().copy("COPY target FROM STDIN (FORMAT csv, HEADER)") as copy,
    ):
        while data := source.read(CHUNK_BYTES):
            copy.write(data)


def seed(file: str) -> None:
    """As the seed did: every row a dict, all of them a DataFrame, and that to SQL."""
    import csv

    with Path(file).open(newline="") as source:
        frame = _library("pandas").DataFrame(list(csv.DictReader(source)))
    frame.to_sql("target", _engine(), if_exists="replace", index=False)


def to_sql(file: str) -> None:
    """What most would write."""
    _library("pandas").read_csv(file, parse_dates=["day", "at"]).to_sql(
        "target", _engine(), if_exists="replace", index=False
    )


def adbc(file: str) -> None:
    """Arrow's reader, streamed into ADBC."""
    with _library("adbc_driver_postgresql.dbapi").connect(_url()) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("target", _library("pyarrow.csv").open_csv(file), mode="create")
        connection.commit()


def dlt(file: str) -> None:
    """Arrow's batches through dlt, whose files are CSV, which is its fastest way into Postgres."""

    def batches() -> Any:
        for batch in _library("pyarrow.csv").open_csv(file):
            yield _library("pyarrow").Table.from_batches([batch])

    library = _library("dlt")
    pipeline = library.pipeline(
        pipeline_name="peer",
        # It wants a host and a password; the query's host, a folder of sockets, is the one that counts.
        destination=library.destinations.postgres(_url().replace("@/", ":none@localhost/", 1)),
        dataset_name="public",
        pipelines_dir=os.environ["PEER_FOLDER"],
    )
    pipeline.run(batches(), table_name="target", loader_file_format="csv", write_disposition="append")


def _library(name: str) -> Any:
    return import_module(name)


def _url() -> str:
    return os.environ["DATABASE_URL"]


def _engine() -> Any:
    return _library("sqlalchemy").create_engine(_url().replace("postgresql://", "postgresql+psycopg://", 1))


WAYS: dict[str, Callable[[str], None]] = {"raw": raw, "seed": seed, "to_sql": to_sql, "adbc": adbc, "dlt": dlt}

if __name__ == "__main__":
    WAYS[sys.argv[1]](sys.argv[2])
