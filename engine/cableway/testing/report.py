"""What came of a run under test, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from cableway.blocs.tables import is_tabular, to_arrow
from cableway.store.port import DeadLetter, RunState, SpanRow, StageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run from its record: how it ended, what each stage did, what failed, and what would have been written.

    ``exported`` holds, by exporter, what each item brought it; those that were let write are not in it.
    ``outputs`` is what the exporters say they left where. ``error`` is what the run failed of.
    """

    state: RunState
    exit_code: int
    counts: Mapping[str, int]
    rows_in: int
    rows_out: int
    stages: tuple[StageRecord, ...]
    exported: Mapping[str, tuple[Any, ...]]
    outputs: Mapping[str, Any]
    dead_letters: tuple[DeadLetter, ...]
    spans: tuple[SpanRow, ...]
    error: BaseException | None
    problem: Mapping[str, Any] | None

    @property
    def ok(self) -> bool:
        """Whether the run succeeded and no item failed."""
        return self.state is RunState.SUCCEEDED

    def stage(self, name: str) -> StageRecord:
        """The record of one stage. Raise `KeyError` naming those that there are."""
        stages = {record.stage: record for record in reversed(self.stages)}
        if name not in stages:
            raise KeyError(f"no stage {name!r}; there are: {', '.join(reversed(stages))}")
        return stages[name]

    def rows(self, exporter: str) -> list[dict[str, Any]]:
        """All that *exporter* would have written, as one list of dicts, in the order in which it came.

        Raise `KeyError` when it caught nothing of that name, `TypeError` for what is no table.
        """
        if exporter not in self.exported:
            there = ", ".join(self.exported) or "none"
            raise KeyError(f"nothing was caught of an exporter {exporter!r}; caught: {there}")
        return [row for value in self.exported[exporter] for row in _rows_of(value)]


def _rows_of(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list) and (not value or is_tabular(value)):
        return [dict(row) for row in cast("list[Mapping[str, Any]]", value)]
    return cast("list[dict[str, Any]]", to_arrow(value).to_pylist())
