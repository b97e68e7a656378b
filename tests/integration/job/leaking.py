"""Bloc types that are given a secret and do all they can to have it told."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel

from cableway.blocs.kinds import Ending, ExporterBloc, TransformerBloc
from cableway.context import RunContext
from cableway.errors import ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakConfig:
    token: str
    url: str = ""
    how: str = "raise"
    notes: str | None = None
    count: int = 0


class Leak(TransformerBloc):
    """Logs the secret in every way, and fails with it."""

    bloc_type = "leak"
    summary = "Tells."
    Config: ClassVar[type] = LeakConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None
    worker = "tests.integration.job.leaking_plain:leak"

    @classmethod
    def faults(cls, config: LeakConfig) -> Iterable[tuple[str, str]]:
        if config.how == "fault" and not config.token.startswith("${"):
            yield "token", f"{config.token!s} is not to my taste"

    def open(self, context: RunContext) -> None:
        in_child = threading.current_thread() is threading.main_thread()
        if self.config.how == "open" or (self.config.how == "open there" and in_child):
            raise RuntimeError(f"cannot open with {self.config.token!s}")

    def transform(self, context: RunContext) -> Any:
        token = self.config.token
        assert len(token) > 10
        assert not token.startswith("$")
        if self.config.notes:
            self._note(Path(self.config.notes))
        self._log(context, token)
        match self.config.how:
            case "exit":
                raise SystemExit(str(token))
            case "own":
                raise ItemError("handler", f"own words and {token!s}", error_type="Told")
            case "row":
                raise KeyError(token)
            case "data":
                return {"token": str(token)}
            case _:
                raise ValueError(f"no luck with {token!s}") from OSError(f"{self.config!r} and {quote(token, safe='')}")

    def _note(self, folder: Path) -> None:
        """What anybody on the machine could see of this process, and what people print of a config."""
        for pid in ("self", str(os.getppid())):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            (folder / f"cmdline.{self.name}.{pid}").write_bytes(line)
        (folder / f"repr.{self.name}").write_text(f"{self.config!r} {vars(self)!r} {[self.config.token]}")

    def _log(self, context: RunContext, token: str) -> None:
        context.log.warning("plain %s", token)
        context.log.info("repr %r of %r, quoted %s", token, self.config, quote(token))
        context.log.warning("{%s}", {"inside": [str(token)]}, extra={"run_id": "x"})
        logging.getLogger("somebody.else").error("else's %s", token, stack_info=True)
        try:
            raise LookupError(str(token))
        except LookupError:
            context.log.exception("an error with %s", token)
        thread = threading.Thread(target=context.log.warning, args=("in a thread: %s", token))
        thread.start()
        thread.join()
        failing = threading.Thread(target=self._fail, args=(token,))
        failing.start()
        failing.join()
        warnings.warn(f"beware of {token!s}", stacklevel=1)
        _Unraisable(token)

    def _fail(self, token: str) -> None:
        raise ValueError(f"a thread failed of {token!s}")


class _Unraisable:
    """Fails where no one can catch it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __del__(self) -> None:
        raise ValueError(f"unraisable {self._token!s}")


class LeakModelConfig(BaseModel):
    token: str
    how: str = "raise"
    count: int = 0
    notes: str | None = None


class LeakModel(Leak):
    """The same with a pydantic config."""

    bloc_type = "leak_model"
    Config = LeakModelConfig

    def transform(self, context: RunContext) -> Any:
        self._log(context, self.config.token)
        raise ValueError(f"{self.config} {self.config.token!s}")


class LeakExporter(ExporterBloc):
    """Tells when it is closed, and in its outputs."""

    bloc_type = "leak_exporter"
    summary = "Tells."
    Config = LeakConfig
    example: ClassVar[Mapping[str, Any]] = {}

    def export(self, context: RunContext) -> int:
        return 1

    def close(self, ending: Ending) -> None:
        if self.config.how == "close":
            raise RuntimeError(f"cannot close with {self.config.token!s}")

    def outputs(self) -> dict[str, Any]:
        return {"where": f"https://x/?key={quote(self.config.token)}", "token": str(self.config.token)}
