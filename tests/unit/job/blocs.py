"""Bloc types for tests of the job: they count, fail, hang and remember on demand."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import Ending, ExporterBloc, Frames, LoaderBloc, TransformerBloc
from cableway.context import RunContext
from cableway.errors import ResourceError, RowError, SourceError
from cableway.items import DROP, Rejected

SEEN: list[tuple[str, Any]] = []
"""What blocs that run in this process noted, in order: the bloc's name, and what."""
RELEASE = threading.Event()
"""Lets those go that hang."""
HANGING = threading.Event()
"""Set by the first that hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersConfig:
    count: int = 3
    batch_size: int | None = None
    fail_after: int | None = None
    fail_own: bool = False


class Numbers(LoaderBloc):
    bloc_type = "numbers"
    summary = "Counts from 0."
    Config = NumbersConfig
    example: ClassVar[Mapping[str, Any]] = {}

    def load(self, context: RunContext) -> Any:
        if not self.batched:
            return list(range(self.config.count))
        return self._stream(context)

    def _stream(self, context: RunContext) -> Iterator[tuple[str, Any]]:
        try:
            for number in range(self.config.count):
                if number == self.config.fail_after:
                    raise SourceError("numbers.csv: row 7 is torn") if self.config.fail_own else OSError("secret words")
                SEEN.append((self.name, number))
                yield f"n{number}", number
        finally:
            SEEN.append((self.name, "closed"))


class AsyncNumbers(Numbers):
    bloc_type = "async_numbers"

    async def load(self, context: RunContext) -> AsyncIterator[tuple[str, Any]]:
        for number in range(self.config.count):
            await asyncio.sleep(0)
            yield f"n{number}", number


@dataclass(frozen=True, slots=True, kw_only=True)
class SiftConfig:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkConfig:
    of: str | None = None
    factor: int = 2
    fail_on: list[int] | None = None
    drop: list[int] | None = None
    hang_on: int | None = None
    what: str = "ValueError"
    beside: str | None = None


class Multiply(TransformerBloc):
    """Multiplies by ``factor``, plus the sum of the side input ``beside``."""

    bloc_type = "multiply"
    summary = "Multiplies."
    Config = WorkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def transform(self, context: RunContext) -> Any:
        value = context.get_data(self.config.of) if self.config.of else context.input()
        SEEN.append((self.name, value))
        if value in (self.config.fail_on or ()):
            known = {"ValueError": ValueError, "KeyError": KeyError, "ResourceError": ResourceError}
            raise known[self.config.what](f"canary {value}")
        if value in (self.config.drop or ()):
            return DROP
        if value == self.config.hang_on:
            HANGING.set()
            RELEASE.wait(20)
        side = sum(context.get_data(self.config.beside)) if self.config.beside else 0
        return value * self.config.factor + side if isinstance(value, int) else value


class Sift(TransformerBloc):
    """Hands on every number, and rejects the odd ones beside that."""

    bloc_type = "sift"
    summary = "Hands on every number, and rejects the odd ones beside that."
    Config = SiftConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames: ClassVar[Frames | None] = None

    def transform(self, context: RunContext) -> Any:
        number = context.input()
        yield [number]
        if number % 2:
            yield Rejected(RowError("is odd", where="numbers", column="n"), {"n": number})


class MultiplyAsync(TransformerBloc):
    bloc_type = "multiply_async"
    summary = "Multiplies on the loop."
    Config = WorkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    async def transform(self, context: RunContext) -> Any:
        value = context.input()
        SEEN.append((self.name, threading.current_thread() is threading.main_thread()))
        if value == self.config.hang_on:
            HANGING.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return value * self.config.factor


class Pid(TransformerBloc):
    bloc_type = "pid"
    summary = "Tells in which process it is."
    Config = WorkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def transform(self, context: RunContext) -> Any:
        assert self.config.beside is not None
        own, side = context.get_data("numbers"), context.get_data(self.config.beside)
        return {"pid": os.getpid(), "own": own, "side": side}


class Total(TransformerBloc):
    """In a gather: the sum of everything."""

    bloc_type = "total"
    summary = "Sums up."
    Config = WorkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def initial(self) -> Any:
        return 0

    def fold(self, state: Any, context: RunContext) -> Any:
        value = context.get_data(self.config.of) if self.config.of else context.input()
        return state + value

    def finish(self, state: Any) -> Any:
        return state * self.config.factor


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepConfig:
    whole: bool = False
    fail_open: bool = False
    fail_close: bool = False
    hang_open: bool = False
    hang_close: bool = False


class Keep(ExporterBloc):
    """Remembers in `SEEN` what it got, and how it was opened and closed."""

    bloc_type = "keep"
    summary = "Keeps what it gets."
    Config = KeepConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    @classmethod
    def sole_target(cls, config: KeepConfig) -> str | None:
        return f"target of {id(config)}" if config.whole else None

    def open(self, context: RunContext) -> None:
        SEEN.append((self.name, "open"))
        if self.config.fail_open:
            raise PermissionError("no way in")
        if self.config.hang_open:
            HANGING.set()
            RELEASE.wait(20)

    def export(self, context: RunContext) -> int:
        value = (
            context.input() if len(context.inputs) == 1 else {name: context.get_data(name) for name in context.inputs}
        )
        SEEN.append((self.name, value))
        return 1

    def close(self, ending: Ending) -> None:
        if self.config.fail_close:
            raise RuntimeError("upload refused")
        if self.config.hang_close:
            HANGING.set()
            RELEASE.wait(20)
        SEEN.append((self.name, ending))

    def outputs(self) -> dict[str, Any]:
        return {"kept": True}
