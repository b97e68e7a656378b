"""Lines of JSON made Arrow tables: a column for each key, what is nested as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from cableway.blocs.csv_files.records import Cut
from cableway.blocs.file_loader import BadRow
from cableway.blocs.tables import library
from cableway.errors import SourceError

Rows = list[tuple[int, dict[str, Any]]]
"""Objects with the number of their line in the cut."""
_NULL_MARK = b"\xef\xbb\xbf"


def json_table(
    cut: Cut, types: Mapping[str, Any], *, columns: Sequence[str] | None = None, fails: bool = False
) -> tuple[Any, list[BadRow]]:
    """The lines of *cut* as a table, and those that cannot be read.

    Columns are those of *types* first, then the others in the order in which they come; *columns* takes some of
    them. With *fails* raise `SourceError` naming row and column of the first line that cannot be read.
    """
    rows: Rows = []
    bad: list[BadRow] = []
    for number, text, row in _read(cut):
        if isinstance(row, str):
            bad.append(BadRow(cut.record + number, row, None, text))
        else:
            rows.append((number, row))
    while True:
        arrays, refused = _columns(rows, types, columns)
        bad += [BadRow(cut.record + n, reason, column, _line(cut, n)) for n, (column, reason) in refused.items()]
        if bad and fails:
            raise SourceError(str(min(bad, key=lambda row: row.record)))
        if not refused:
            bad.sort(key=lambda row: row.record)
            return library("pyarrow").table(arrays), bad
        rows = [(number, row) for number, row in rows if number not in refused]


def _read(cut: Cut) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """Number, text and object of each line that is not blank; what is wrong in place of the object."""
    decode = json.JSONDecoder(parse_constant=_refuse).decode
    start = 0
    for number, end in enumerate(map(int, cut.ends)):
        line = bytes(cut.data[start:end])
        if number == 0 and cut.record == 0:
            line = line.removeprefix(_NULL_MARK)
        start = end
        if line.isspace():
            continue
        try:
            text = line.decode().strip()
            value: Any = decode(text)
        except UnicodeDecodeError:
            yield number, line.decode("utf-8", "replace").strip(), "is not UTF-8"
        except (ValueError, RecursionError):
            yield number, line.decode("utf-8", "replace").strip(), "is no JSON"
        else:
            yield number, text, cast("dict[str, Any]", value) if isinstance(value, dict) else "is no JSON object"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _line(cut: Cut, number: int) -> str:
    start = int(cut.ends[number - 1]) if number else 0
    return bytes(cut.data[start : int(cut.ends[number])]).decode("utf-8", "replace").strip()


def _columns(
    rows: Rows, types: Mapping[str, Any], columns: Sequence[str] | None
) -> tuple[dict[str, Any], dict[int, tuple[str, str]]]:
    """Arrays by column, and column and reason for each row that has a value of another type."""
    pa = library("pyarrow")
    names = (
        columns if columns is not None else list(dict.fromkeys([*types, *(name for _, row in rows for name in row)]))
    )
    arrays: dict[str, Any] = {}
    refused: dict[int, tuple[str, str]] = {}
    for name in names:
        values = [row.get(name) for _, row in rows]
        try:
            arrays[name] = _typed(values, types[name]) if name in types else _found(values)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError, ValueError):
            kind = types.get(name, pa.string())
            refused |= {
                number: (name, f"a value is no {kind}; say what the column is with 'types'")
                for (number, _), value in zip(rows, values, strict=True)
                if not _fits(value, kind)
            }
    return arrays, refused


def _fits(value: Any, kind: Any) -> bool:
    pa = library("pyarrow")
    try:
        _typed([value], kind)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError, ValueError):
        return False
    return True


def _found(values: Sequence[Any]) -> Any:
    """*values* in the one type that fits them; as text where they are nested, or of several types."""
    pa = library("pyarrow")
    if not any(isinstance(value, dict | list) for value in values):
        try:
            array = pa.array(values)
        except (pa.ArrowException, OverflowError, TypeError):
            pass
        else:
            if not pa.types.is_null(array.type):
                return array
    return pa.array([_text(value) for value in values], pa.string())


def _typed(values: Sequence[Any], kind: Any) -> Any:
    pa = library("pyarrow")
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in values], kind)
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.array([_text(value) for value in values], pa.string()).cast(kind)
    if not pa.types.is_boolean(kind) and any(isinstance(value, bool) for value in values):
        raise TypeError(kind)
    return pa.array(values, kind)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
