"""``rename``: other names for columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import require_columns
from cableway.context import MissingDataError, RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameConfig:
    """Which columns, and what they are called afterwards."""

    columns: Annotated[dict[str, Annotated[str, MinLen(1)]], MinLen(1)]
    """New names by old ones; the other columns keep theirs."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class RenameBloc(TransformerBloc):
    """Names may be swapped; two columns of one name are refused. A missing column fails the item."""

    bloc_type = "rename"
    summary = "Gives columns other names."
    Config = RenameConfig
    example: ClassVar[Mapping[str, Any]] = {"columns": {"dep_delay": "departure_delay_min"}}
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: RenameConfig

    @classmethod
    def faults(cls, config: RenameConfig) -> Iterable[tuple[str, str]]:
        """A new name that is given twice."""
        for name, count in sorted(Counter(config.columns.values()).items()):
            if count > 1:
                yield "columns", f"gives the name {name!r} twice"

    def transform(self, context: RunContext) -> Any:
        """The table under its new names; nothing is copied."""
        table = context.input()
        require_columns(table, self.config.columns, self.name)
        names = [self.config.columns.get(name, name) for name in table.column_names]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise MissingDataError(f"bloc {self.name!r}: there is a column {twice[0]!r} already; rename that one too")
        return table.rename_columns(names)
