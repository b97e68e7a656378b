"""Log lines on stderr, with the ids of the run and its trace once they are known."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cableway.settings import Settings

BEFORE_A_RUN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
IN_A_RUN = f"{BEFORE_A_RUN} run_id=%(run_id)s trace_id=%(trace_id)s"


def log_to_stderr(settings: Settings) -> None:
    """Log at the settings' levels; whoever has set up logging already keeps it."""
    logging.basicConfig(level=settings.log_level, format=BEFORE_A_RUN)
    for name, level in settings.log_levels.items():
        logging.getLogger(name).setLevel(level)


def name_the_run(run_id: str, trace_id: str, span_id: str) -> None:
    """From here on every line says which run and which trace it belongs to."""
    from cableway.telemetry.logs import RunLogFilter

    ids = RunLogFilter(run_id, trace_id, span_id)
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None and handler.formatter._fmt == BEFORE_A_RUN:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - ours alone is changed
            handler.addFilter(ids)
            handler.setFormatter(logging.Formatter(IN_A_RUN))
