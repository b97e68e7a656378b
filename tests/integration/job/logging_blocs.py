"""Bloc types that log, and that break logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext
from tests.unit.job.blocs import WorkConfig


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError


class Say(TransformerBloc):
    """Logs what it gets, and leaves a file in the run's folder."""

    bloc_type = "say"
    summary = "Says."
    Config = WorkConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def open(self, context: RunContext) -> None:
        if self.config.what == "break":
            logging.getLogger().addHandler(Broken())

    def transform(self, context: RunContext) -> Any:
        context.log.warning("got %s\nin lane", context.input())
        if context.output_dir is not None:
            (Path(context.output_dir) / f"{context.bloc}.txt").write_text("said")
        return context.input()
