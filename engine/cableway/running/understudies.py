"""Blocs that play for others while a pipeline is tried out: given data, fewer items, nothing written."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from cableway.blocs.kinds import LOCAL_LANES, Bloc, Ending, ExporterBloc, LoaderBloc, Resources
from cableway.running.payloads import payload_of
from cableway.running.placing import is_async, method_of
from cableway.running.tally import rows_in

if TYPE_CHECKING:
    from cableway.context import RunContext
    from cableway.definition import BlocDefinition, JsonObject, Lane, StageDefinition
    from cableway.running.excerpt import Excerpt

SAMPLE_ROWS = 3
"""Rows that a dry run shows of what an exporter would have written."""


def understudy(excerpt: Excerpt, name: str, stage: Mapping[str, Bloc | None], limit: int | None) -> Bloc:
    """What plays bloc *name* of a *stage* in *excerpt*: the bloc itself where nothing is wished otherwise."""
    original = stage[name]
    if original is None:
        return Given(name, excerpt.given[name])
    if excerpt.dry_run and isinstance(original, ExporterBloc):
        return Withheld(original)
    if limit is not None and isinstance(original, LoaderBloc):
        streams = [other for other in stage.values() if isinstance(other, LoaderBloc) and other.batched]
        # Beside a stream a loader that is read whole is what the items are looked up in.
        if original in streams or not streams:
            return Shortened(original, limit)
    return original


def lane_beside(stage: StageDefinition, definition: BlocDefinition, original: Bloc | None) -> Lane:
    """The lane of what plays for *original*, beside the job: its own, where that is there."""
    chosen = definition.lane or stage.lane
    if chosen is not None and chosen in LOCAL_LANES:
        return chosen
    return "thread" if original is not None and not is_async(method_of(original)) else "async"


class Given(LoaderBloc):
    """Gives what somebody has at hand."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name, None)
        self._value = value

    async def load(self, context: RunContext) -> Any:
        """All of it."""
        return self._value


class Shortened(LoaderBloc):
    """A loader of which no more than *limit* items are taken or, where it loads whole, rows."""

    def __init__(self, original: LoaderBloc, limit: int) -> None:
        super().__init__(original.name, original.config)
        self.__dict__["repeats"] = original.repeats
        self.__dict__["keeps_cursor"] = original.keeps_cursor
        self.original = original
        self.limit = limit

    @property
    def batched(self) -> bool:
        """As the loader itself."""
        return self.original.batched

    def bind(self, resources: Resources) -> None:
        """As the loader itself."""
        self.original.bind(resources)

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """As the loader itself."""
        return self.original.plan(context, state)

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """As the loader itself."""
        self.original.follow(plan, reached)

    def fingerprint(self, position: str) -> JsonObject:
        """As the loader itself."""
        return self.original.fingerprint(position)

    def open(self, context: RunContext) -> Awaitable[None] | None:
        """As the loader itself."""
        return self.original.open(context)

    def close(self, ending: Ending) -> Awaitable[None] | None:
        """As the loader itself."""
        return self.original.close(ending)

    def load(self, context: RunContext) -> Any:
        """The first of what the loader gives."""
        loaded = self.original.load(context)
        if inspect.isawaitable(loaded):
            return self._awaited(loaded)
        if not self.batched:
            return some_rows(loaded, 0, self.limit)
        if isinstance(loaded, AsyncIterator):
            return self._few(cast("AsyncIterator[tuple[str, Any]]", loaded))
        return islice(cast("Iterator[tuple[str, Any]]", loaded), self.limit)

    async def _awaited(self, loaded: Awaitable[Any]) -> Any:
        return some_rows(await loaded, 0, self.limit)

    async def _few(self, loaded: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[tuple[str, Any]]:
        left = self.limit
        async for pair in loaded:
            yield pair
            left -= 1
            if left == 0:
                return


class Withheld(ExporterBloc):
    """Counts what an exporter would have been given to write, keeps the first rows, and writes nothing."""

    def __init__(self, original: ExporterBloc) -> None:
        super().__init__(original.name, original.config)
        self.__dict__["frames"] = None
        self._original = original
        self._rows = self._items = 0
        self._sample: list[Any] = []

    async def export(self, context: RunContext) -> int:
        """Nothing is written."""
        self._items += 1
        for name in context.inputs:
            if context.has_data(name):
                self._look_at(context.get_data(name))
        return 0

    def outputs(self) -> JsonObject:
        """What would have been written where, in items and rows, with the first rows of it."""
        target = self._original.outputs()
        return {"would_write": {**target, "items": self._items, "rows": self._rows, "sample": self._sample}}

    def _look_at(self, value: Any) -> None:
        self._rows += rows_in(value)
        left = SAMPLE_ROWS - len(self._sample)
        if left > 0:
            text = payload_of(some_rows(value, 0, left)).text
            shown = None if text is None else json.loads(text)
            self._sample += cast("list[Any]", shown) if isinstance(shown, list) else [shown]


def some_rows(value: Any, start: int, count: int) -> Any:
    """Rows of *value* from *start* on, at most *count*; what has no rows is given whole."""
    if isinstance(value, list | tuple):
        return cast("Sequence[Any]", value)[start : start + count]
    take = getattr(value, "slice", None)
    if take is not None:
        return take(start, count)
    frame = getattr(value, "iloc", None)
    return value if frame is None else frame[start : start + count]
