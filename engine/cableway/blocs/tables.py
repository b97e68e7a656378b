"""Tabular data at a bloc's edges: Arrow, pandas, or a list of dicts, each made of the others.

Tabular is anything with ``__arrow_c_stream__`` and a list of dicts. Nothing heavy loads until
such a value is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from cableway.context import MissingDataError
from cableway.errors import DefinitionError, RowError

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc, Frames

_UNNAMED_INDEX = "__index_level_"


def library(name: str) -> Any:
    """The module *name* of pyarrow or pandas. Raise `DefinitionError` that says how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        package = name.partition(".")[0]
        raise DefinitionError(f"tables need {package}: install it with `pip install 'cableway[data]'`") from None


def is_tabular(value: Any) -> bool:
    """Whether *value* is a table in one of the forms that blocs understand."""
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        return bool(rows) and all(isinstance(row, Mapping) for row in rows)
    return hasattr(value, "__arrow_c_stream__")


def view_of(bloc: Bloc | type[Bloc]) -> Callable[[Any], Any] | None:
    """What a `RunContext` shows *bloc* of tabular data; None where the bloc takes it as it comes."""
    frames: Frames | None = bloc.frames
    match frames:
        case None:
            return None
        case "pandas":
            return _pandas_view
        case "arrow":
            return _arrow_view


def to_arrow(value: Any, where: str = "table") -> Any:
    """An Arrow table with the rows of *value*; an index counts as columns where its levels have names.

    Raise `RowError` naming *where* and the column that holds no one type, and `TypeError` when
    *value* is not tabular.
    """
    pa = library("pyarrow")
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if isinstance(value, list):
        return _from_rows(pa, cast("list[Any]", value), where)
    if _is_pandas(value):
        return _from_pandas(pa, value, where)
    if hasattr(value, "__arrow_c_stream__"):
        return pa.table(value)
    raise TypeError(f"{where}: {type(value).__name__} is no table; give a DataFrame, an Arrow table or a list of dicts")


def to_pandas(value: Any) -> Any:
    """A DataFrame of the caller's own with the rows of *value*.

    Whole numbers stay whole: a column with nulls among them arrives as ``Int64``, not as floats.
    """
    pd = library("pandas")
    if _is_pandas(value):
        return value.copy(deep=False)  # copies a column when one side writes to it
    if isinstance(value, list):
        return pd.DataFrame(cast("list[Any]", value))
    table = to_arrow(value)
    nullable = _nullable_types(table)
    return table.to_pandas(types_mapper=nullable.get) if nullable else table.to_pandas()


def aligned(table: Any, schema: Any) -> Any:
    """The Arrow *table* with the columns of *schema*, in its order and of its types.

    Raise `ValueError` that says which columns or types differ, and no value.
    """
    if table.schema.equals(schema):
        return table
    names, wanted = set(table.column_names), set(schema.names)
    if names != wanted or len(table.column_names) != len(schema.names):
        differing = ", ".join(map(repr, sorted(names ^ wanted))) or "one comes twice"
        raise ValueError(f"all rows must have the same columns; these differ in: {differing}")
    table = table.select(schema.names)
    try:
        return table.cast(schema)
    except library("pyarrow").ArrowException:
        kinds = [
            f"{field.name!r} ({field.type} before, {table.schema.field(field.name).type} now)"
            for field in schema
            if not table.schema.field(field.name).type.equals(field.type)
        ]
        raise ValueError(f"a column has another type than in the items before: {', '.join(kinds)}") from None


def require_columns(table: Any, names: Iterable[str], bloc: str) -> None:
    """Raise `MissingDataError` naming those of *names* that the Arrow *table* lacks, and what it has."""
    there: list[str] = table.column_names
    absent = [name for name in names if name not in there]
    if absent:
        raise MissingDataError(
            f"bloc {bloc!r} wants the column {', '.join(map(repr, absent))}, "
            f"and its input has: {', '.join(map(repr, there))}"
        )


def _pandas_view(value: Any) -> Any:
    return to_pandas(value) if is_tabular(value) else value


def _arrow_view(value: Any) -> Any:
    return to_arrow(value) if is_tabular(value) else value


def _is_pandas(value: Any) -> bool:
    """Without importing pandas: who made a DataFrame has done so."""
    return type(value).__name__ == "DataFrame" and type(value).__module__.partition(".")[0] == "pandas"


def _nullable_types(table: Any) -> dict[Any, Any]:
    """Types of pandas for the Arrow types that would turn into something else for their nulls."""
    pd, pa = library("pandas"), library("pyarrow")
    wanted = {
        pa.int8(): pd.Int8Dtype,
        pa.int16(): pd.Int16Dtype,
        pa.int32(): pd.Int32Dtype,
        pa.int64(): pd.Int64Dtype,
        pa.uint8(): pd.UInt8Dtype,
        pa.uint16(): pd.UInt16Dtype,
        pa.uint32(): pd.UInt32Dtype,
        pa.uint64(): pd.UInt64Dtype,
        pa.bool_(): pd.BooleanDtype,
    }
    with_nulls = {column.type for column in table.columns if column.null_count}
    return {kind: make() for kind, make in wanted.items() if kind in with_nulls}


def _from_pandas(pa: Any, frame: Any, where: str) -> Any:
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for name in frame.columns:
            _column(pa, frame[name], str(name), where, of_pandas=True)
        raise
    unnamed = [name for name in table.column_names if name.startswith(_UNNAMED_INDEX)]
    return table.drop_columns(unnamed).replace_schema_metadata(None)


def _from_rows(pa: Any, rows: Sequence[Mapping[str, Any]], where: str) -> Any:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_column(pa, [row.get(name) for row in rows], name, where) for name in names]
    return pa.table(columns, names=names)


def _column(pa: Any, values: Any, name: str, where: str, *, of_pandas: bool = False) -> Any:
    """One column; what Arrow says about a bad one quotes the value, so it is said anew."""
    try:
        return pa.array(values, from_pandas=of_pandas)
    except UnicodeEncodeError:
        row = next((n for n, value in enumerate(values, 1) if isinstance(value, str) and not _is_unicode(value)), None)
        raise RowError("text with half a surrogate pair", where=where, row=row, column=name) from None
    except OverflowError:
        raise RowError("a number is too large for 64 bits", where=where, column=name) from None
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise RowError(f"no one type fits its values ({type(error).__name__})", where=where, column=name) from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
