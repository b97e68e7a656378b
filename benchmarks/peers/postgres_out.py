"""The usual way out of Postgres: the whole result as a DataFrame, then written. Arguments: kind, URL, query, path."""

from __future__ import annotations

import sys

import pandas as pd
import sqlalchemy

kind, url, query, path = sys.argv[1:]
frame = pd.read_sql(query, sqlalchemy.create_engine(url))
if kind == "parquet":
    frame.to_parquet(path)
else:
    frame.to_csv(path, index=False)
