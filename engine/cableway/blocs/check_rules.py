"""The rules that a contract is made of, and how a table is held to each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, cast

from cableway.blocs.shaping.conditions import Condition, mask_of
from cableway.blocs.tables import library

RuleName = Literal["not_null", "unique", "accepted_values", "range", "row_count", "freshness"]
_NEEDS_COLUMNS = frozenset({"not_null", "unique", "accepted_values", "range", "freshness"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, for one or more columns."""

    rule: RuleName
    """What must hold."""
    columns: list[str] = field(default_factory=list[str])
    """The columns it is about; of ``unique`` those that are unique together, of ``freshness`` one."""
    values: list[Any] = field(default_factory=list[Any])
    """Of ``accepted_values``: the values that may stand there."""
    min: float | str | None = None
    """Of ``range`` and ``row_count``: the smallest that is good; dates and times as text."""
    max: float | str | None = None
    """Of ``range`` and ``row_count``: the largest that is good."""
    max_age_s: float | None = None
    """Of ``freshness``: seconds that the newest value may be old."""
    severity: Literal["error", "warn"] = "error"
    """``error`` rejects the row, or fails the item; ``warn`` counts and logs."""

    @classmethod
    def of(cls, written: Any) -> Rule:
        """From what stands in a checked config."""
        return cls(**cast("Mapping[str, Any]", written)) if isinstance(written, Mapping) else written

    @property
    def of_rows(self) -> bool:
        """Whether it judges rows one by one."""
        return self.rule not in {"row_count", "freshness"}

    @property
    def words(self) -> str:
        """The rule with its columns, for people."""
        return f"{self.rule}({', '.join(self.columns)})" if self.columns else self.rule

    @property
    def reason(self) -> str:
        """What is wrong with a row that breaks it."""
        match self.rule:
            case "not_null":
                return "is missing, and must not be"
            case "unique":
                return f"another row has the same {', '.join(self.columns)}"
            case "accepted_values":
                return "is none of the accepted values"
            case _:
                return f"is not within {'' if self.min is None else self.min}..{'' if self.max is None else self.max}"

    def faults(self) -> Iterable[tuple[str, str]]:
        """What the rule lacks, or has too much: fields with messages."""
        if self.rule in _NEEDS_COLUMNS and not self.columns:
            yield "columns", f"{self.rule} needs columns"
        if self.rule == "row_count" and self.columns:
            yield "columns", "row_count is about the table, not about columns"
        if self.rule == "freshness" and (len(self.columns) > 1 or self.max_age_s is None or self.max_age_s < 0):
            yield "max_age_s", "freshness needs one column and a max_age_s of 0 or more"
        if self.rule == "accepted_values" and not self.values:
            yield "values", "accepted_values needs values"
        if self.rule in {"range", "row_count"} and self.min is None and self.max is None:
            yield "min", f"{self.rule} needs a min or a max"
        if self.rule == "row_count" and any(isinstance(end, str) for end in (self.min, self.max)):
            yield "min", "row_count is a number"


def broken_rows(table: Any, rule: Rule, bloc: str) -> list[tuple[int, str]]:
    """The rows (from 0) that break *rule*, with the column in which they do; a row once, in order.

    Raise `DefinitionError` when a value of the rule does not fit its column.
    """
    if rule.rule == "unique":
        return [(row, rule.columns[-1]) for row in _repeated(table, rule.columns)]
    pc, found = library("pyarrow.compute"), dict[int, str]()
    for column in rule.columns:
        broken: Any = None
        for condition in _conditions(rule, column):
            mask = mask_of(table, condition, f"bloc {bloc!r}, {rule.words}")
            broken = mask if broken is None else pc.or_kleene(broken, mask)
        for row in pc.indices_nonzero(pc.fill_null(broken, fill_value=False)).to_pylist():
            found.setdefault(row, column)
    return sorted(found.items())


def item_fault(table: Any, rule: Rule) -> str | None:
    """What is wrong with the table as a whole; None where nothing is."""
    if rule.rule == "row_count":
        rows = table.num_rows
        few = rule.min is not None and rows < float(rule.min)
        many = rule.max is not None and rows > float(rule.max)
        counted = "is 1 row" if rows == 1 else f"are {rows} rows"
        return f"there {counted}" if few or many else None
    newest = library("pyarrow.compute").max(table.column(rule.columns[0])).as_py()
    if newest is None:
        return "there is no value to be fresh"
    if not isinstance(newest, date):  # a datetime is one
        return "the column holds no dates or times"
    age = datetime.now(UTC) - _instant(newest)
    return (
        None
        if age <= timedelta(seconds=rule.max_age_s or 0)
        else f"the newest value is {age.total_seconds():.0f} s old"
    )


def _instant(value: date) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def _conditions(rule: Rule, column: str) -> Iterator[Condition]:
    """What a broken row meets: any of these."""
    if rule.rule == "not_null":
        yield Condition(column=column, op="is null")
    elif rule.rule == "accepted_values":
        yield Condition(column=column, op="not in", value=rule.values)
    else:
        if rule.min is not None:
            yield Condition(column=column, op="<", value=rule.min)
        if rule.max is not None:
            yield Condition(column=column, op=">", value=rule.max)


def _repeated(table: Any, columns: list[str]) -> list[int]:
    """Rows whose values in *columns* an earlier row has; a missing value equals nothing."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    places = pa.array(range(table.num_rows), pa.int64())
    whole: Any = None
    for column in columns:
        valid = table.column(column).is_valid()
        whole = valid if whole is None else pc.and_(whole, valid)
    names = [str(n) for n in range(len(columns) + 1)]
    numbered = pa.table([*(table.column(name) for name in columns), places], names=names).filter(whole)
    groups = numbered.group_by(names[:-1], use_threads=False).aggregate([(names[-1], "min")])
    firsts = groups.column(f"{names[-1]}_min")
    mine = numbered.column(names[-1])
    return sorted(mine.filter(pc.invert(pc.is_in(mine, firsts.combine_chunks()))).to_pylist())
