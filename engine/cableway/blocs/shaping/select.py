"""``select``: the columns that are wanted, in the order that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import require_columns
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectConfig:
    """Which columns."""

    columns: Annotated[list[str], MinLen(1)]
    """The columns to keep, in this order."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class SelectBloc(TransformerBloc):
    """Lets the other columns go. One that is missing fails the item, naming those that are there."""

    bloc_type = "select"
    summary = "Keeps the named columns, in the order named."
    Config = SelectConfig
    example: ClassVar[Mapping[str, Any]] = {"columns": ["carrier", "dep_delay"]}
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: SelectConfig

    @classmethod
    def faults(cls, config: SelectConfig) -> Iterable[tuple[str, str]]:
        """A column that is named twice."""
        for name in sorted({name for name in config.columns if config.columns.count(name) > 1}):
            yield "columns", f"names {name!r} twice"

    def transform(self, context: RunContext) -> Any:
        """The table with these columns alone; nothing is copied."""
        table = context.input()
        require_columns(table, self.config.columns, self.name)
        return table.select(self.config.columns)
