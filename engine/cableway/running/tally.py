"""What a run has to show: rows by bloc, a record for each stage and bloc, and where the output is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc
from cableway.store.port import StageRecord

if TYPE_CHECKING:
    from cableway.definition import JsonObject, StageDefinition
    from cableway.flow.statistics import StageStatistics


class RowCounts:
    """Rows that passed, by bloc: what loaders and transformers made, and what exporters wrote. Any thread may count."""

    def __init__(self) -> None:
        self.by_bloc: dict[str, int] = {}
        self._lock = threading.Lock()

    def made(self, bloc: str, value: Any) -> None:
        """Count the rows of *value*, which *bloc* made."""
        self._add(bloc, rows_in(value))

    def wrote(self, bloc: str, rows: Any) -> None:
        """Count the *rows* that the exporter *bloc* says it wrote; one that says nothing is not counted."""
        self._add(bloc, rows if isinstance(rows, int) and not isinstance(rows, bool) else 0)

    def _add(self, bloc: str, rows: int) -> None:
        with self._lock:
            self.by_bloc[bloc] = self.by_bloc.get(bloc, 0) + rows


def rows_in(value: Any) -> int:
    """How many rows *value* is: as many as a table or a list has, else one."""
    if value is None:
        return 0
    rows = getattr(value, "num_rows", None)
    if isinstance(rows, int):
        return rows
    if isinstance(value, str | bytes | Mapping):
        return 1
    try:
        return len(value)
    except TypeError:
        return 1


def rows_in_and_out(blocs: Mapping[str, Bloc], rows: RowCounts, *, committed: bool) -> tuple[int, int]:
    """Rows that the loaders gave, and rows that the exporters wrote and that are there.

    An exporter that writes its target as a whole has written nothing unless the run was *committed*.
    """
    came = gone = 0
    for name, bloc in blocs.items():
        if isinstance(bloc, LoaderBloc):
            came += rows.by_bloc.get(name, 0)
        elif isinstance(bloc, ExporterBloc) and (committed or bloc.sole_target(bloc.config) is None):
            gone += rows.by_bloc.get(name, 0)
    return came, gone


def outputs_of(blocs: Mapping[str, Bloc], *, committed: bool) -> JsonObject:
    """What each bloc says of its output, by bloc; exporters only when what they wrote was *committed*."""
    told = {name: bloc for name, bloc in blocs.items() if committed or not isinstance(bloc, ExporterBloc)}
    return {name: said for name, bloc in told.items() if (said := bloc.outputs())}


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
                lane=str(lanes[bloc.name]),
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
