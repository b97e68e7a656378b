"""``cast``: columns in the types that are wanted, and what becomes of rows that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from cableway.blocs.column_types import arrow_type, type_fault
from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.shaping.rows import without_rows
from cableway.blocs.tables import library, require_columns
from cableway.context import RunContext
from cableway.errors import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class CastConfig:
    """Which columns become what."""

    types: Annotated[dict[str, str], MinLen(1)]
    """Types by column: boolean, date, integer, number, string, timestamp, timestamptz, or decimal(P,S)."""
    on_bad_row: Literal["fail", "null", "reject"] = "fail"
    """A value that does not fit: fails its item, becomes null, or its row is rejected (a dead letter of its own)."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class CastBloc(TransformerBloc):
    """Nothing is cut or rounded on the way: a number with a fraction is no integer, a time of day no date."""

    bloc_type = "cast"
    summary = "Turns columns into other types."
    Config = CastConfig
    example: ClassVar[Mapping[str, Any]] = {"types": {"dep_delay": "integer", "fare": "decimal(10,2)"}}
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: CastConfig

    @classmethod
    def faults(cls, config: CastConfig) -> Iterable[tuple[str, str]]:
        """A type that is none."""
        for column, name in config.types.items():
            if reason := type_fault(name):
                yield f"types/{column}", reason

    def transform(self, context: RunContext) -> Any:
        """The table with these types. Raise `RowError` naming row and column where ``on_bad_row`` is ``fail``."""
        pa = library("pyarrow")
        table = context.input()
        require_columns(table, self.config.types, self.name)
        bad: dict[int, RowError] = {}
        for name, wanted in self.config.types.items():
            kind = arrow_type(wanted)
            column, misfits = _cast(pa, table.column(name), kind)
            for row in misfits:
                bad.setdefault(row, RowError(f"is no {wanted}", where=self.name, row=row + 1, column=name))
            table = table.set_column(table.column_names.index(name), name, column)
        if not bad or self.config.on_bad_row == "null":
            return table
        if self.config.on_bad_row == "fail":
            raise bad[min(bad)]
        return without_rows(table, context.input(), bad)


def _cast(pa: Any, column: Any, kind: Any) -> tuple[Any, list[int]]:
    """*column* as *kind*, null where a value does not fit, and the rows of those values."""
    try:
        return column.cast(kind), []
    except pa.ArrowNotImplementedError:
        return pa.chunked_array([pa.nulls(len(column), kind)]), [
            row for row, value in enumerate(column) if value.is_valid
        ]
    except (pa.ArrowInvalid, ValueError):
        misfits = sorted(_misfits(pa, column, kind, 0))
    mask = [True] * len(column)
    for row in misfits:
        mask[row] = False
    kept = library("pyarrow.compute").if_else(pa.array(mask), column.combine_chunks(), pa.scalar(None, column.type))
    return pa.chunked_array([kept.cast(kind)]), misfits


def _misfits(pa: Any, column: Any, kind: Any, offset: int) -> Iterator[int]:
    """The rows whose values do not fit, found by halving what does not."""
    try:
        column.cast(kind)
    except (pa.ArrowInvalid, ValueError):
        if len(column) == 1:
            yield offset
            return
        middle = len(column) // 2
        yield from _misfits(pa, column.slice(0, middle), kind, offset)
        yield from _misfits(pa, column.slice(middle), kind, offset + middle)
