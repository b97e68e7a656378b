"""
What a failed item held, as JSON that a dead letter keeps, and made into the same values again for a replay.

Tables become records. Their schemas are kept beside them, so that dates, decimals and timestamps come back in their
types; other values come back as JSON has them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from cableway.blocs.tables import is_tabular, library, to_arrow
from cableway.store.storable import storable_json

if TYPE_CHECKING:
    from cableway.definition import JsonObject

PAYLOAD_LIMIT = 256 * 1024
"""Bytes of JSON above which a payload is not kept in the letter's row."""

Shape = Literal["data", "row"]

ROW = ""
"""Under what the frame of a refused row stands."""

_MEMBERS_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """An item's data as JSON. Without ``text`` it was too large, or nothing that JSON could hold."""

    text: str | None
    size_bytes: int
    shape: Shape = "data"
    """``row``: one row that a bloc refused, instead of an item's data by bloc."""
    frames: JsonObject | None = None
    """What was a table, by the name of its bloc (of a row: nothing): its ``library`` and ``schema``."""


def payload_of(data: Any, blocs: Collection[str] | None = None, *, limit: int | None = PAYLOAD_LIMIT) -> Payload:
    """*data* of a failed item as JSON of at most *limit* bytes. *blocs*: the names that an item's data goes by."""
    shape: Shape = "data"
    try:
        size_bytes = estimated_bytes(data)
        if limit is not None and size_bytes > 4 * limit:
            return Payload(text=None, size_bytes=size_bytes)
        if blocs is not None and not _is_by_bloc(data, blocs):
            shape = "row"
        frames: JsonObject = {}
        text = storable_json(_written(data, frames, shape))
    except Exception:  # noqa: BLE001 - a payload of somebody's own making may raise anything, and a letter must be kept
        return Payload(text=None, size_bytes=0)
    kept = limit is None or len(text) <= limit
    return Payload(text=text if kept else None, size_bytes=len(text), shape=shape, frames=frames or None)


def restored(value: Any, frames: Mapping[str, Any] | None) -> Any:
    """The data that a payload *value* was made of. Of the members of a batch a list."""
    frames = frames or {}
    if isinstance(value, list) and ROW not in frames:
        members = cast("list[Any]", value)
        made: list[Any] = [restored(member, frames.get(str(number))) for number, member in enumerate(members)]
        return made
    if ROW in frames:
        return _table_of([value], frames[ROW])
    if not isinstance(value, Mapping):
        return cast("Any", value)
    entries = cast("Mapping[str, Any]", value)
    return {name: _table_of(entry, frames[name]) if name in frames else entry for name, entry in entries.items()}


def estimated_bytes(data: Any) -> int:
    """Of what need not be turned into JSON to see that it is large: tables, and long lists."""
    if isinstance(data, Mapping):
        return sum(estimated_bytes(value) for value in cast("Mapping[Any, Any]", data).values())
    if isinstance(data, list | tuple):
        members = cast("list[Any] | tuple[Any, ...]", data)
        if len(members) > _MEMBERS_LIMIT:
            return 100 * len(members)
        return sum(estimated_bytes(member) for member in members)
    if isinstance(data, str | bytes):
        return len(data)
    size = getattr(data, "nbytes", None)
    if isinstance(size, int):
        return size
    memory = getattr(data, "memory_usage", None)
    if memory is None:
        return 0
    used = memory(index=False)  # of a DataFrame: column by column
    return int(used.sum() if hasattr(used, "sum") else used)


def _is_by_bloc(data: Any, blocs: Collection[str]) -> bool:
    """Whether *data* is an item's, which goes by the names of blocs; a row goes by those of its columns."""
    if isinstance(data, list):
        members = cast("list[Any]", data)
        return bool(members) and all(_is_by_bloc(member, blocs) for member in members)
    return isinstance(data, Mapping) and all(name in blocs for name in cast("Mapping[Any, Any]", data))


def _written(data: Any, frames: JsonObject, shape: Shape) -> Any:
    if shape == "row":
        return _row_written(data, frames)
    if isinstance(data, Mapping):
        entries = cast("Mapping[Any, Any]", data)
        return {str(name): _entry_written(str(name), value, frames) for name, value in entries.items()}
    if isinstance(data, list | tuple):  # of a batch: its members
        written: list[Any] = []
        for number, member in enumerate(cast("list[Any] | tuple[Any, ...]", data)):
            own: JsonObject = {}
            written.append(_written(member, own, "data"))
            if own:
                frames[str(number)] = own
        return written
    return _entry_written(ROW, data, {})


def _row_written(row: Any, frames: JsonObject) -> Any:
    if not isinstance(row, Mapping):
        return _plain(row)
    records = _entry_written(ROW, [row], frames)
    if ROW not in frames:
        frames[ROW] = {"library": "rows"}
    return records[0]


def _entry_written(name: str, value: Any, frames: JsonObject) -> Any:
    """*value* of one bloc; with more than JSON can tell, *frames* learn its library and schema."""
    if not is_tabular(value):
        return _plain(value)
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        plain = _plain(rows)
        if plain == rows and json.loads(storable_json(plain)) == rows:
            return plain
    try:
        table = to_arrow(value)
    except Exception:  # noqa: BLE001 - what is no table to Arrow is kept as it says itself
        return _records_of(value)
    frames[name] = {
        "library": _library_of(value),
        "schema": base64.b64encode(table.schema.serialize().to_pybytes()).decode(),
    }
    return [_plain(row) for row in table.to_pylist()]


def _library_of(value: Any) -> str:
    if isinstance(value, list):
        return "rows"
    return "pandas" if type(value).__module__.partition(".")[0] == "pandas" else "arrow"


def _records_of(value: Any) -> Any:
    if hasattr(value, "to_json") and hasattr(value, "to_dict"):  # pandas
        return json.loads(value.to_json(orient="records", date_format="iso"))
    return _plain(value)


def _plain(value: Any) -> Any:
    """*value* without what has a form of its own here; the rest becomes text as it is stored."""
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in cast("list[Any] | tuple[Any, ...]", value)]
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    return value


def _table_of(records: Any, frame: Mapping[str, Any]) -> Any:
    """The table that *records* were, in the library in which it was."""
    if "schema" not in frame:
        return records
    from cableway.running.columns import column_of

    pa = library("pyarrow")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(frame["schema"])))
    rows = cast("list[Mapping[str, Any]]", records)
    columns = [column_of(pa, [row.get(field.name) for row in rows], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    if frame["library"] == "rows":
        return table.to_pylist()
    return table.to_pandas() if frame["library"] == "pandas" else table
