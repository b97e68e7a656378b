"""Blocs that stand in for others in a test: given rows, a function in their place, fewer rows, or a catch."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc, TransformerBloc
from cableway.context import RunContext
from cableway.running.tally import rows_in
from cableway.running.understudies import Shortened, some_rows

Answer = Callable[[Any], Any]
Replacement = Any
"""A bloc; a function of the `RunContext`, sync or async; or rows."""


def stand_in(name: str, original: Bloc, replacement: Replacement) -> Bloc:
    """What takes the place of *original*. Raise `TypeError` where *replacement* can do nothing there."""
    if isinstance(replacement, Bloc):
        if replacement.kind != original.kind:
            raise TypeError(f"bloc {name!r} is one of kind {original.kind}, and not of kind {replacement.kind}")
        replacement.name = name
        return replacement
    match original:
        case LoaderBloc():
            return _StandInLoader(original, _answering(replacement))
        case TransformerBloc():
            return _StandInTransformer(original, _answering(replacement))
        case ExporterBloc() if callable(replacement):
            return _StandInExporter(original, replacement)
        case _:
            raise TypeError(f"bloc {name!r} writes, so only a function or a bloc can take its place")


def _answering(replacement: Replacement) -> Answer:
    if callable(replacement):
        return cast("Answer", replacement)
    return lambda _: replacement


async def _settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


class _StandInLoader(LoaderBloc):
    """Gives what a test says; in items as large as the loader's own where that one loads in batches."""

    def __init__(self, original: LoaderBloc, answer: Answer) -> None:
        super().__init__(original.name, original.config)
        self._batched = original.batched
        self._answer = answer

    @property
    def batched(self) -> bool:
        """As the loader in whose place it stands."""
        return self._batched

    def load(self, context: RunContext) -> Any:
        """Rows in one piece or in batches; an iterator that a function gives is taken for ``(position, value)``."""
        return self._pieces(context) if self._batched else _settled(self._answer(context))

    async def _pieces(self, context: RunContext) -> AsyncIterator[tuple[str, Any]]:
        answer = await _settled(self._answer(context))
        if isinstance(answer, AsyncIterator):
            async for position, value in cast("AsyncIterator[tuple[str, Any]]", answer):
                yield position, value
        elif isinstance(answer, Iterator):
            for position, value in cast("Iterator[tuple[str, Any]]", answer):
                yield position, value
        elif not _has_rows(answer):
            yield "0", answer
        else:
            size = getattr(self.config, "batch_size", None) or rows_in(answer) or 1
            for start in range(0, rows_in(answer), size):
                yield str(start), some_rows(answer, start, size)


class _StandInTransformer(TransformerBloc):
    """Gives what a test says. In a stage that gathers its function gets the list of all inputs."""

    def __init__(self, original: TransformerBloc, answer: Answer) -> None:
        super().__init__(original.name, original.config)
        self.__dict__["frames"] = original.frames
        self._answer = answer

    async def transform(self, context: RunContext) -> Any:
        """The function's answer, or the rows."""
        return await _settled(self._answer(context))

    def finish(self, state: Any) -> Any:
        """The answer for everything together."""
        return self._answer(state)


class _StandInExporter(ExporterBloc):
    """Hands what it gets to a test's function."""

    def __init__(self, original: ExporterBloc, answer: Answer) -> None:
        super().__init__(original.name, original.config)
        self.__dict__["frames"] = original.frames
        self._answer = answer

    async def export(self, context: RunContext) -> Any:
        """What the function says was written; where it says nothing, the rows that it got."""
        rows = await _settled(self._answer(context))
        return rows if isinstance(rows, int) else rows_in(read(context))


class Catch(ExporterBloc):
    """Keeps what an exporter would have been given to write, item by item, and writes nothing."""

    def __init__(self, original: ExporterBloc) -> None:
        super().__init__(original.name, original.config)
        self.__dict__["frames"] = original.frames
        self.caught: list[Any] = []

    async def export(self, context: RunContext) -> int:
        """Keep the item's data."""
        self.caught.append(value := read(context))
        return rows_in(value)


class Limited(Shortened):
    """A loader of which no more than *limit* rows are taken, whether it gives them at once or in items."""

    def load(self, context: RunContext) -> Any:
        """The first rows of what the loader gives."""
        return self._pieces(self.original.load(context)) if self.batched else super().load(context)

    async def _pieces(self, loaded: Any) -> AsyncIterator[tuple[str, Any]]:
        left = self.limit
        async for position, value in _each(loaded):
            yield position, some_rows(value, 0, left)
            left -= rows_in(value)
            if left <= 0:
                return


async def _each(loaded: Any) -> AsyncIterator[tuple[str, Any]]:
    if isinstance(loaded, AsyncIterator):
        async for pair in cast("AsyncIterator[tuple[str, Any]]", loaded):
            yield pair
    else:
        for pair in cast("Iterator[tuple[str, Any]]", loaded):
            yield pair


def read(context: RunContext) -> Any:
    """What a bloc reads: its one input as it is, several by name."""
    if len(context.inputs) == 1:
        return context.input()
    return {name: context.get_data(name) for name in context.inputs if context.has_data(name)}


def _has_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) or hasattr(value, "slice") or hasattr(value, "iloc")
