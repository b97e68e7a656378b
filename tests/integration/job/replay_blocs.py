"""A bloc type for tests of replays: it refuses some rows of a table for as long as a file is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cableway import Rejected
from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext
from cableway.errors import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class SieveConfig:
    ids: list[int]
    """Rows that are refused."""
    file: str
    """While it is there."""


class Sieve(TransformerBloc):
    bloc_type = "sieve"
    summary = "Gives the rows that it takes as one table, and refuses the others."
    Config = SieveConfig
    example: ClassVar[Mapping[str, Any]] = {"ids": [1], "file": "x"}
    frames = "arrow"

    def transform(self, context: RunContext) -> Iterator[Any]:
        rows = context.input().to_pylist()
        bad: set[int] = set(self.config.ids) if Path(self.config.file).exists() else set()
        kept = [row for row in rows if row["id"] not in bad]
        if kept:
            yield context.input().from_pylist(kept, schema=context.input().schema)
        for row in rows:
            if row["id"] in bad:
                yield Rejected(RowError("it is in the sieve", where="sieve", column="id"), row)
