"""``check``: a contract for data. Rows that break it are rejected; an item that breaks it fails."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from cableway.blocs.check_rules import Rule, broken_rows, item_fault
from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.shaping.rows import without_rows
from cableway.blocs.tables import library, require_columns
from cableway.context import RunContext
from cableway.definition import JsonObject
from cableway.errors import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """What data must be like."""

    rules: Annotated[list[Rule], MinLen(1)]
    """All of them are looked at, for every row."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class CheckBloc(TransformerBloc):
    """Hands on the rows that keep the rules.

    ``not_null``, ``unique``, ``accepted_values`` and ``range`` judge rows: one that breaks a rule of severity ``error``
    is rejected, which makes it a dead letter of its own. ``row_count`` and ``freshness`` judge the item: breaking
    them fails it. What breaks a rule of severity ``warn`` is counted, logged and let through. A rule sees one item:
    that is all of the data where the loader does not batch, or where the stage gathers.
    """

    bloc_type = "check"
    summary = "Holds data to a contract: rules that rows and tables must keep."
    Config = CheckConfig
    example: ClassVar[Mapping[str, Any]] = {
        "rules": [
            {"rule": "not_null", "columns": ["flight", "day"]},
            {"rule": "range", "columns": ["dep_delay"], "min": -60, "max": 2000, "severity": "warn"},
            {"rule": "row_count", "min": 1},
        ]
    }
    lanes = ("thread",)
    frames = "arrow"

    config: CheckConfig

    def __init__(self, name: str, config: CheckConfig) -> None:
        super().__init__(name, config)
        self._rules = [Rule.of(each) for each in config.rules]
        self._broken: Counter[int] = Counter()
        self._turn = threading.Lock()

    @classmethod
    def faults(cls, config: CheckConfig) -> Iterable[tuple[str, str]]:
        """A rule without what it needs."""
        for number, rule in enumerate(config.rules):
            for field, reason in rule.faults():
                yield f"rules/{number}/{field}", reason

    def transform(self, context: RunContext) -> Any:
        """The rows that keep the rules. Raise `RowError` naming the rule that the item as a whole breaks."""
        return self._judged(context.input(), context)

    def initial(self) -> Any:
        """Nothing yet."""
        return None

    def fold(self, state: Any, context: RunContext) -> Any:
        """All rows so far."""
        more = context.input()
        return more if state is None else library("pyarrow").concat_tables([state, more], promote_options="permissive")

    def finish(self, state: Any) -> Any:
        """The rows of all items that keep the rules."""
        return None if state is None else self._judged(state, None)

    def outputs(self) -> JsonObject:
        """How many rows, or items, broke each rule."""
        found = [
            {"rule": rule.words, "severity": rule.severity, "broken": self._broken[n]}
            for n, rule in enumerate(self._rules)
        ]
        return {"rules": found}

    def _judged(self, table: Any, context: RunContext | None) -> Any:
        require_columns(table, [column for rule in self._rules for column in rule.columns], self.name)
        rejected: dict[int, Exception] = {}
        for number, rule in enumerate(self._rules):
            if rule.of_rows:
                rows = broken_rows(table, rule, self.name)
                self._note(number, len(rows), context)
                if rule.severity == "error":
                    for row, column in rows:
                        rejected.setdefault(row, RowError(rule.reason, where=self.name, row=row + 1, column=column))
            elif reason := item_fault(table, rule):
                self._note(number, 1, context)
                if rule.severity == "error":
                    raise RowError(f"{rule.words}: {reason}", where=self.name)
        return without_rows(table, table, rejected) if rejected else table

    def _note(self, number: int, count: int, context: RunContext | None) -> None:
        rule = self._rules[number]
        with self._turn:
            self._broken[number] += count
        if count and rule.severity == "warn" and context is not None:
            context.log.warning("item %s breaks %s %d times", context.item_id, rule.words, count)
