"""Bloc types for tests of lines: a fan-out, a worker that refuses some items, and a gather."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    rows: int = 3
    """Rows in a piece."""


class Split(TransformerBloc):
    bloc_type = "split_rows"
    summary = "Fans a table out into smaller ones."
    Config = SplitConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = "arrow"

    def transform(self, context: RunContext) -> Iterator[Any]:
        table = context.input()
        for start in range(0, table.num_rows, self.config.rows):
            yield table.slice(start, self.config.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    refuse: int = -1
    """The item whose first row has this id fails."""


class Checked(TransformerBloc):
    bloc_type = "checked_rows"
    summary = "Fails for one item, and passes the others on."
    Config = CheckConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = "arrow"

    def transform(self, context: RunContext) -> Any:
        table = context.input()
        if table.column("id")[0].as_py() == self.config.refuse:
            raise ValueError("refused")
        return table


class Sums(TransformerBloc):
    """In a gather: how many rows there were, and the sum of their ids."""

    bloc_type = "sum_rows"
    summary = "Sums up."
    Config = SplitConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = "arrow"

    def initial(self) -> Any:
        return [0, 0]

    def fold(self, state: Any, context: RunContext) -> Any:
        table = context.input()
        return [state[0] + table.num_rows, state[1] + sum(table.column("id").to_pylist())]

    def finish(self, state: Any) -> Any:
        return [{"rows": state[0], "total": state[1]}]
