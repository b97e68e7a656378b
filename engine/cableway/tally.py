"""What a run has to show: rows by bloc, a record for each stage and bloc, and where the output is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc
from cableway.store.port import StageRecord

if TYPE_CHECKING:
    from cableway.definition import JsonObject, StageDefinition
    from cableway.flow.statistics import StageStatistics


@dataclass(slots=True)
class RowCounts:
    """Rows that passed, by bloc: what loaders and transformers gave, and what exporters wrote."""

    by_bloc: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, bloc: str, value: Any) -> None:
        """Count the rows of *value*, which *bloc* made or (an exporter) wrote."""
        self.by_bloc[bloc] = self.by_bloc.get(bloc, 0) + rows_in(value)

    def of(self, blocs: Mapping[str, Bloc], kind: type[Bloc]) -> int:
        """Rows of all *blocs* of one kind."""
        return sum(self.by_bloc.get(name, 0) for name, bloc in blocs.items() if isinstance(bloc, kind))


def rows_in(value: Any) -> int:
    """How many rows *value* is: a table's or a list's length, an exporter's own count, else one."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return value
    rows = getattr(value, "num_rows", None)
    if isinstance(rows, int):
        return rows
    if isinstance(value, str | bytes | Mapping):
        return 1
    try:
        return len(value)
    except TypeError:
        return 1


def rows_in_and_out(blocs: Mapping[str, Bloc], rows: RowCounts) -> tuple[int, int]:
    """Rows that the loaders gave, and rows that the exporters wrote."""
    return rows.of(blocs, LoaderBloc), rows.of(blocs, ExporterBloc)


def outputs_of(blocs: Mapping[str, Bloc]) -> JsonObject:
    """What each exporter says of its output, by bloc."""
    return {name: said for name, bloc in blocs.items() if isinstance(bloc, ExporterBloc) and (said := bloc.outputs())}


def stage_records(
    stages: Mapping[str, StageDefinition],
    lanes: Mapping[str, str],
    statistics: Mapping[str, StageStatistics],
    rows: RowCounts,
) -> list[StageRecord]:
    """A record for each stage that the flow knows and, below it, for each of several blocs. *lanes* is by bloc."""
    records: list[StageRecord] = []
    for name, definition in stages.items():
        stage = statistics.get(name)
        if stage is None:
            continue
        blocs = [bloc.name for bloc in definition.blocs]
        records.append(
            StageRecord(
                stage=name,
                bloc=None,
                lane=" ".join(dict.fromkeys(lanes[bloc] for bloc in blocs)),
                items=stage.queued,
                rows=sum(rows.by_bloc.get(bloc, 0) for bloc in blocs),
                failed=stage.failed,
                skipped=stage.skipped,
                retries=stage.retried,
                work_s=stage.work_s,
                wait_s=stage.wait_s,
                blocked_s=stage.blocked_s,
                workers=definition.workers,
            )
        )
        records += [
            StageRecord(
                stage=name,
                bloc=bloc.name,
                lane=lanes[bloc.name],
                items=bloc.attempts - bloc.retried,
                rows=rows.by_bloc.get(bloc.name, 0),
                failed=bloc.failed,
                skipped=0,
                retries=bloc.retried,
                work_s=bloc.work_s,
                wait_s=0.0,
                blocked_s=0.0,
                workers=definition.workers,
            )
            for bloc in stage.blocs
        ]
    return records
