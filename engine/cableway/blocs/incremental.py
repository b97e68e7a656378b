"""
Loading only what is new: a field that grows, and how far it was read, kept from run to run.

For the author of a loader: put ``incremental: Incremental | None = None`` in the config. In `LoaderBloc.plan`
return what `first_plan` gives, in `follow` make a `Watermark` of the plan and what an earlier attempt had reached,
give every group of rows to `Watermark.new_rows` (dicts) or `Watermark.new_table` (Arrow) and pass on what comes
back, stop when `Watermark.exhausted` says so, and return `Watermark.state` from `reached`. The source may be asked
for the rows from `Watermark.start` on, which spares reading the others; that is never needed for the result.

What is kept is the highest value that was seen, never lowered by the lag, and for the rows that the next run will
meet again (those at that value, or within the lag below it) a bounded number of hashes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, MinLen

from cableway.blocs.tables import library
from cableway.cursor_values import alike, decoded, encoded
from cableway.errors import SourceError

if TYPE_CHECKING:
    from cableway.definition import JsonObject

log = logging.getLogger("cableway.blocs.incremental")

SEEN_AT_MOST = 20_000
"""Rows at or near the highest value that are known again; of more than that the lowest may be loaded twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental:
    """Load only what is new since the last run."""

    cursor_field: Annotated[str, MinLen(1)]
    """The field that grows, such as ``updated_at``; in nested records a path with dots."""
    initial_value: str | int | float | None = None
    """Where the first run begins; unset: with everything."""
    end_value: str | int | float | None = None
    """Rows from this value on are left out. Such a run moves no cursor: it is for loading a stretch again."""
    lag: Annotated[float, Ge(0)] = 0.0
    """How far below the highest value rows may come late: seconds for times, days for dates, else the field's unit."""
    primary_key: tuple[str, ...] = ()
    """The fields that make a row; unset: all of them."""
    row_order: Literal["asc", "desc"] | None = None
    """How the source sorts rows by the field, where it does: then reading can end early."""
    on_missing: Literal["fail", "include", "exclude"] = "fail"
    """What becomes of a row in which the field is missing or null."""

    def faults(self) -> Iterable[tuple[str, str]]:
        """What its fields say against each other."""
        if self.end_value is not None and self.initial_value is None:
            yield "incremental", "an end_value needs an initial_value: together they are the stretch to load"
        pair = (self.initial_value, self.end_value)
        if None not in pair and isinstance(pair[0], str) != isinstance(pair[1], str):
            yield "incremental", "initial_value and end_value must be of one type"


def incremental_of(config: Any) -> Incremental | None:
    """The ``incremental`` of a bloc's *config*, which comes as plain JSON values where it was checked before."""
    given: Any = getattr(config, "incremental", None)
    return Incremental(**cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else given


def first_plan(config: Incremental, state: Mapping[str, Any]) -> JsonObject:
    """What a lap fixes: the state that it starts from, for it must not move while the lap is worked off."""
    del config
    return {"from": dict(state)}


def reached_together(config: Incremental | None, reached: Iterable[Mapping[str, Any]]) -> JsonObject:
    """The state that follows from those that the parts of a run have *reached*."""
    if config is None:
        return {}
    together = Watermark(config, {}, {})
    for state in reached:
        together.join(state)
    return together.state()


class Watermark:
    """The rows of one lap that are new, and the highest value among them.

    *plan* is what `first_plan` gave, *reached* the `state` that an earlier attempt at this lap had kept.
    """

    def __init__(self, config: Incremental, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        self._config = config
        before: Mapping[str, Any] = plan.get("from") or {}
        self._last_before = decoded(before.get("last"))
        self._known: dict[str, Any] = {name: decoded(value) for name, value in before.get("seen", {}).items()}
        state = reached or before
        self.last: Any = decoded(state.get("last"))
        self._seen: dict[str, Any] = {name: decoded(value) for name, value in state.get("seen", {}).items()}
        self._told = False
        self.start = self._start()
        """Rows below this value are old; None: there is no lower end. The lag is taken off already."""
        self.exhausted = False
        """Whether the source's order says that no later row is wanted."""

    def _start(self) -> Any:
        if self._last_before is None:
            return self._config.initial_value
        lowest = _lagged(self._last_before, self._config.lag)
        initial = self._config.initial_value
        if initial is None or self._last_before < alike(initial, self._last_before):
            return lowest  # somebody has set the cursor there
        return max(lowest, alike(initial, lowest))

    @property
    def end(self) -> Any:
        """Rows from this value on are not wanted; None: there is no upper end."""
        return self._config.end_value

    def state(self) -> JsonObject:
        """What the next lap starts from. The highest value as it was seen, without the lag."""
        if self.last is None:
            return {}
        seen = self._seen.copy()  # at once: rows go on coming in another thread
        return {"last": encoded(self.last), "seen": {name: encoded(value) for name, value in seen.items()}}

    def join(self, state: Mapping[str, Any]) -> None:
        """Have seen what another one has, as its `state` says."""
        last = decoded(state.get("last"))
        if last is None:
            return
        if self.last is None or last > alike(self.last, last):
            self.last = last
        self._seen |= {name: decoded(value) for name, value in state.get("seen", {}).items()}
        self._bound()

    def new_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of *rows* that no earlier lap has loaded. Raise `SourceError` for a row without the field."""
        kept: list[Mapping[str, Any]] = []
        for row in rows:
            value = _field(row, self._config.cursor_field)
            if value is None:
                if self._keeps_missing():
                    kept.append(row)
            elif self._wants(value) and not self._is_known(row, value):
                kept.append(row)
                self._advance(row, value)
        self._bound()
        return kept

    def new_table(self, table: Any) -> Any:
        """The same for an Arrow table: rows are looked at one by one only where the next lap could meet them again."""
        pc = library("pyarrow.compute")
        name = self._config.cursor_field
        if name not in table.column_names:
            raise self._missing()
        column = table.column(name)
        if column.null_count and not self._keeps_missing():
            table = table.filter(pc.is_valid(column))
            column = table.column(name)
        lowest, highest = _extremes(pc, column)
        if highest is None:
            return table
        if not (self._wants(lowest) and self._wants(highest)) or self._may_know(lowest):
            return self._row_by_row(table)
        if self.last is None or highest > alike(self.last, highest):
            self.last = highest
        edge = pc.greater_equal(column, library("pyarrow").scalar(_lagged(self.last, self._config.lag), column.type))
        for row in table.filter(edge).to_pylist():
            self._seen[self._hash(row, row[name])] = row[name]
        self._bound()
        return table

    def _row_by_row(self, table: Any) -> Any:
        pa = library("pyarrow")
        rows: list[dict[str, Any]] = table.to_pylist()
        kept = {id(row) for row in self.new_rows(rows)}
        return table.filter(pa.array([id(row) in kept for row in rows], pa.bool_()))

    def _wants(self, value: Any) -> bool:
        order, start, end = self._config.row_order, self.start, self.end
        if start is not None and value < alike(start, value):
            self.exhausted = self.exhausted or order == "desc"
            return False
        if end is not None and value >= alike(end, value):
            self.exhausted = self.exhausted or order == "asc"
            return False
        return True

    def _may_know(self, lowest: Any) -> bool:
        return self._last_before is not None and lowest <= alike(self._last_before, lowest)

    def _is_known(self, row: Mapping[str, Any], value: Any) -> bool:
        return self._may_know(value) and self._hash(row, value) in self._known

    def _advance(self, row: Mapping[str, Any], value: Any) -> None:
        if self.last is None or value > alike(self.last, value):
            self.last = value
        if value >= alike(_lagged(self.last, self._config.lag), value):
            self._seen[self._hash(row, value)] = value
            if len(self._seen) > 2 * SEEN_AT_MOST:
                self._bound()

    def _bound(self) -> None:
        """Forget rows that the next lap does not meet again, and of the others the lowest above the bound."""
        if self.last is None:
            return
        edge = _lagged(self.last, self._config.lag)
        self._seen = {name: value for name, value in self._seen.items() if value >= alike(edge, value)}
        over = len(self._seen) - SEEN_AT_MOST
        if over > 0:
            for name in sorted(self._seen, key=self._seen.__getitem__)[:over]:
                del self._seen[name]
            if not self._told:
                self._told = True
                log.warning("more than %d rows share the newest %s; some may come twice", SEEN_AT_MOST, self._name)

    def _hash(self, row: Mapping[str, Any], value: Any) -> str:
        keys = self._config.primary_key or sorted(row)
        values = (_field(row, key) if "." in key else row.get(key) for key in keys)
        told = json.dumps([str(value), *values], default=str)
        return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def _keeps_missing(self) -> bool:
        if self._config.on_missing == "fail":
            raise self._missing()
        return self._config.on_missing == "include"

    def _missing(self) -> SourceError:
        return SourceError(
            f"a row has no value in the cursor field {self._name!r}; correct cursor_field, or set on_missing"
        )

    @property
    def _name(self) -> str:
        return self._config.cursor_field


def _field(row: Mapping[str, Any], path: str) -> Any:
    if path in row or "." not in path:
        return row.get(path)
    value: Any = row
    for name in path.split("."):
        value = cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else None
    return value


def _extremes(pc: Any, column: Any) -> tuple[Any, Any]:
    found = pc.min_max(column).as_py()
    return found["min"], found["max"]


def _lagged(value: Any, lag: float) -> Any:
    """*value* less *lag*, of the same type as it was."""
    if not lag:
        return value
    if isinstance(value, datetime):
        return value - timedelta(seconds=lag)
    if isinstance(value, date):
        return value - timedelta(days=lag)
    if isinstance(value, Decimal):
        return value - Decimal(str(lag))
    if isinstance(value, int | float):
        return value - (int(lag) if isinstance(value, int) and float(lag).is_integer() else lag)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise SourceError("a lag needs numbers, dates or times in the cursor field, and its values are text") from None
    lower = (moment - timedelta(seconds=lag)).isoformat()
    return lower.replace("+00:00", "Z") if str(value).endswith("Z") else lower
