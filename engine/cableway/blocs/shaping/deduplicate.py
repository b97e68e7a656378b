"""``deduplicate``: one row of each key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import library, require_columns
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class DeduplicateConfig:
    """What makes two rows the same."""

    key: list[str] = field(default_factory=list[str])
    """Columns whose values make a row; none: all of them."""
    keep: Literal["first", "last"] = "first"
    """Which row of a key stays."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class DeduplicateBloc(TransformerBloc):
    """Looks at one item: at the whole run where the loader gives one, or where the stage gathers.

    Rows stay in their order; missing values equal each other. A gather holds the rows that stay.
    """

    bloc_type = "deduplicate"
    summary = "Keeps one row of each key."
    Config = DeduplicateConfig
    example: ClassVar[Mapping[str, Any]] = {"key": ["flight", "day"], "keep": "last"}
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: DeduplicateConfig

    @classmethod
    def faults(cls, config: DeduplicateConfig) -> Iterable[tuple[str, str]]:
        """A column that is named twice."""
        if len(set(config.key)) < len(config.key):
            yield "key", "names a column twice"

    def transform(self, context: RunContext) -> Any:
        """The rows of this item that stay."""
        return self._sole(context.input())

    def initial(self) -> Any:
        """Nothing yet."""
        return None

    def fold(self, state: Any, context: RunContext) -> Any:
        """The rows that stay of all items so far."""
        more = context.input()
        both = more if state is None else library("pyarrow").concat_tables([state, more], promote_options="permissive")
        return self._sole(both)

    def finish(self, state: Any) -> Any:
        """The rows that stay."""
        return state

    def _sole(self, table: Any) -> Any:
        pa = library("pyarrow")
        key = self.config.key or list(table.column_names)
        require_columns(table, key, self.name)
        if not table.num_rows:
            return table
        # Under names of our own, so that no column of the table can be in the way.
        places = pa.array(range(table.num_rows), pa.int64())
        numbered = pa.table(
            [*(table.column(name) for name in key), places], names=[str(n) for n in range(len(key) + 1)]
        )
        which = "min" if self.config.keep == "first" else "max"
        groups = numbered.group_by([str(n) for n in range(len(key))], use_threads=False)
        kept = groups.aggregate([(str(len(key)), which)]).column(f"{len(key)}_{which}")
        if len(kept) == table.num_rows:
            return table
        return table.take(kept.sort())
