"""``aggregate``: rows by group, in each item, or over all items where the stage gathers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Len

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import library, require_columns
from cableway.context import RunContext
from cableway.errors import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateConfig:
    """Which columns make a group, and what is kept of the others."""

    group_by: list[str] = field(default_factory=list[str])
    """Columns whose values make a group; none: all rows are one."""
    count: str | None = None
    """Name of a column for the number of rows; unset: none is made."""
    sum: list[str] = field(default_factory=list[str])
    """Columns to add up; missing values count as nothing."""
    min: list[str] = field(default_factory=list[str])
    """Columns of which the smallest value is kept."""
    max: list[str] = field(default_factory=list[str])
    """Columns of which the largest value is kept."""
    ratio: dict[str, Annotated[list[str], Len(2, 2)]] = field(default_factory=dict[str, list[str]])
    """Columns made at the end by dividing one by another: a mean is a sum by a count."""
    source_bloc: str | None = None
    """The bloc whose data is aggregated; unset: the one of the previous stage."""


class AggregateBloc(TransformerBloc):
    """Sums, smallest and largest values can be aggregated again, so a gather over the sums of each item is exact.

    Rows come sorted by their group. Over no item at all a gather gives None.
    """

    bloc_type = "aggregate"
    summary = "Counts, sums, smallest and largest values and ratios by group."
    Config = AggregateConfig
    example: ClassVar[Mapping[str, Any]] = {
        "group_by": ["carrier"],
        "count": "flights",
        "sum": ["dep_delay"],
        "ratio": {"mean_dep_delay": ["dep_delay", "flights"]},
    }
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: AggregateConfig

    @classmethod
    def faults(cls, config: AggregateConfig) -> Iterable[tuple[str, str]]:
        """A result without columns, a column twice, a ratio of what is not kept."""
        kept = [*config.group_by, *(name for name, _, _ in _measures(config))]
        if len(kept) == len(config.group_by):
            yield "sum", "nothing is aggregated; name columns in sum, min or max, or a count"
        for name in sorted({name for name in [*kept, *config.ratio] if [*kept, *config.ratio].count(name) > 1}):
            yield "group_by", f"the result would have the column {name!r} twice"
        for name, parts in config.ratio.items():
            for part in parts:
                if part not in kept:
                    yield f"ratio/{name}", f"there is no column {part!r} to divide; the result has {', '.join(kept)}"

    def transform(self, context: RunContext) -> Any:
        """An Arrow table with a row for each group of this item."""
        return self.finish(self._grouped(context.input()))

    def initial(self) -> Any:
        """Nothing yet."""
        return None

    def fold(self, state: Any, context: RunContext) -> Any:
        """The groups so far, with those of one more item."""
        grouped = self._grouped(context.input())
        return grouped if state is None else self._merged(state, grouped)

    def finish(self, state: Any) -> Any:
        """The groups in order, with their ratios."""
        if state is None:
            return None
        pc = library("pyarrow.compute")
        table = state.sort_by([(name, "ascending") for name in self.config.group_by]) if self.config.group_by else state
        for name, (above, below) in self.config.ratio.items():
            divisor = table.column(below).cast("float64")
            # Nothing divided by nothing is no number that anybody wants to read.
            divisor = pc.if_else(pc.equal(divisor, 0.0), None, divisor)
            table = table.append_column(name, pc.divide(table.column(above).cast("float64"), divisor))
        return table

    def _grouped(self, table: Any) -> Any:
        config = self.config
        require_columns(table, [*config.group_by, *config.sum, *config.min, *config.max], self.name)
        return self._aggregated(table, [(column, how) for _, column, how in _measures(config)])

    def _merged(self, one: Any, other: Any) -> Any:
        """Sums of sums, and the sums of counts."""
        both = library("pyarrow").concat_tables([one, other], promote_options="permissive")
        return self._aggregated(
            both, [(name, "sum" if how == "count_all" else how) for name, _, how in _measures(self.config)]
        )

    def _aggregated(self, table: Any, measures: list[tuple[str | list[str], str]] | list[Any]) -> Any:
        try:
            grouped = table.group_by(self.config.group_by, use_threads=False).aggregate(measures)
        except library("pyarrow").ArrowNotImplementedError:
            raise self._unfit(table) from None
        results = grouped.drop_columns(self.config.group_by) if self.config.group_by else grouped
        names = [name for name, _, _ in _measures(self.config)]
        kept = [grouped.column(name) for name in self.config.group_by]
        return library("pyarrow").table([*kept, *results.columns], names=[*self.config.group_by, *names])

    def _unfit(self, table: Any) -> RowError:
        """What to say of a table in which a column is of a type that cannot be added up or compared."""
        types = library("pyarrow").types
        sums = [
            name
            for name in self.config.sum
            if not types.is_null(kind := table.column(name).type) and not _adds(types, kind)
        ]
        column = (sums or [*self.config.min, *self.config.max, *self.config.group_by, ""])[0]
        kind = table.column(column).type if column else "this"
        return RowError(f"a column of type {kind} cannot be aggregated so", where=self.name, column=column or None)


def _adds(types: Any, kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


def _measures(config: AggregateConfig) -> Iterator[tuple[str, str | list[str], str]]:
    """Name in the result, column, and Arrow's word for what is done with it."""
    if config.count is not None:
        yield config.count, [], "count_all"
    for how, columns in (("sum", config.sum), ("min", config.min), ("max", config.max)):
        for column in columns:
            yield column, column, how
