"""Bloc types that hang in every way there is."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cableway.blocs.kinds import Ending, ExporterBloc, TransformerBloc
from cableway.context import RunContext

LONG_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class HangConfig:
    begun: str


class Hang(TransformerBloc):
    bloc_type = "hang"
    summary = "Hangs in a worker."
    Config = HangConfig
    example: ClassVar[Mapping[str, Any]] = {"begun": "/tmp/begun"}
    frames = None

    def transform(self, context: RunContext) -> Any:
        Path(self.config.begun).touch()
        time.sleep(LONG_S)


class HangOnLoop(Hang):
    """Swallows its cancellation as well."""

    bloc_type = "hang_on_loop"

    async def transform(self, context: RunContext) -> Any:
        Path(self.config.begun).touch()  # noqa: ASYNC240 - a moment
        for _ in range(100):
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                continue


class HoldLoop(Hang):
    """Holds the whole event loop up."""

    bloc_type = "hold_loop"

    async def transform(self, context: RunContext) -> Any:
        Path(self.config.begun).touch()  # noqa: ASYNC240 - a moment
        time.sleep(LONG_S)  # noqa: ASYNC251 - as bad handlers do


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkConfig:
    lines: int = 2000


class Talk(TransformerBloc):
    bloc_type = "talk"
    summary = "Logs a lot, and prints a little."
    Config = TalkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def transform(self, context: RunContext) -> Any:
        for number in range(self.config.lines):
            logging.getLogger("own").warning("line %d: %s", number, "x" * 100)
        sys.stdout.write("some words")
        return 1


class HangClosing(ExporterBloc):
    bloc_type = "hang_closing"
    summary = "Hangs when it is closed."
    Config = TalkConfig
    example: ClassVar[Mapping[str, Any]] = {}

    def export(self, context: RunContext) -> int:
        return 0

    def close(self, ending: Ending) -> None:
        time.sleep(LONG_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitConfig:
    path: str


class WaitForFile(TransformerBloc):
    bloc_type = "wait_for_file"
    summary = "Waits until a file is there."
    Config = WaitConfig
    example: ClassVar[Mapping[str, Any]] = {"path": "/tmp/go"}
    frames = None

    async def transform(self, context: RunContext) -> Any:
        while not Path(self.config.path).exists():  # noqa: ASYNC110, ASYNC240 - nobody tells us of it
            await asyncio.sleep(0.02)
        return context.input()


class Enlarge(TransformerBloc):
    bloc_type = "enlarge"
    summary = "Makes text of some megabytes."
    Config = TalkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def transform(self, context: RunContext) -> Any:
        return "x" * (4 << 20)


class SpinUntilFile(WaitForFile):
    """Needs a processor all the time."""

    bloc_type = "spin_until_file"

    def transform(self, context: RunContext) -> Any:
        go = Path(self.config.path)
        while not go.exists():
            sum(range(10_000))
        return context.input()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwellConfig:
    on: int


class Swell(TransformerBloc):
    bloc_type = "swell"
    summary = "Takes memory without end."
    Config = SwellConfig
    example: ClassVar[Mapping[str, Any]] = {"on": 1}
    frames = None

    def transform(self, context: RunContext) -> Any:
        held: list[bytes] = []
        while context.input() == self.config.on:
            held.append(b"x" * (16 << 20))
        return context.input()
