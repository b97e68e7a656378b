from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cableway.settings import read_settings
from cableway.telemetry.settings import TelemetrySettings
from cableway.variables import GROUPS, VARIABLES

ROOT = Path(__file__).parent.parent.parent
NAME = re.compile(r"(DATABASE|LOG|PIPELINES|CABLEWAY|OTEL)_[A-Z][A-Z_]*[A-Z]")


OUR_OWN = {"CABLEWAY_FAILPOINT", "CABLEWAY_TESTING", "CABLEWAY_LISTENER_FD", "CABLEWAY_READY_FD"}
"""What tests tell a process, and a server its successor: nobody sets them by hand."""


class Asked(dict[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.names: set[str] = set()

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        self.names.add(name)
        return super().get(name, default)


def in_code() -> Iterator[str]:
    """Every text in the code that is a variable's name."""
    for folder in ("engine", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "variables.py":
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                        yield node.value


def test_every_variable_that_is_read_is_in_the_table() -> None:
    asked = Asked(DATABASE_HOST="x", DATABASE_NAME="x", DATABASE_USER="x")
    read_settings(asked)
    TelemetrySettings.from_environ(asked)
    assert {name.upper() for name in asked.names} - VARIABLES.keys() == set()
    assert set(in_code()) - VARIABLES.keys() == OUR_OWN


def test_the_table_has_no_variable_that_nobody_reads() -> None:
    asked = Asked(DATABASE_HOST="x", DATABASE_NAME="x", DATABASE_USER="x")
    read_settings(asked)
    TelemetrySettings.from_environ(asked)
    specific = {name for name in VARIABLES if name.startswith("OTEL_EXPORTER_OTLP_")}
    for name in specific:  # asked for only where the one before it is set
        other = Asked(**{name: "x", name.replace("OTLP_", "OTLP_TRACES_"): ""})
        TelemetrySettings.from_environ(other)
        asked.names |= other.names
    assert VARIABLES.keys() - {name.upper() for name in asked.names} == set()


def test_no_variable_stands_in_the_table_twice() -> None:
    assert len(VARIABLES) == sum(len(group) for group in GROUPS.values())


def test_defaults_are_those_of_the_code() -> None:
    plain, default = read_settings({}), {name: variable.default.strip("`") for name, variable in VARIABLES.items()}
    assert (default["LOG_LEVEL"], default["LOG_FORMAT"]) == (plain.log_level, plain.log_format)
    assert (float(default["CABLEWAY_PROGRESS_S"]), default["CABLEWAY_SECRETS"]) == (30, ",".join(plain.secrets))
    assert plain.progress_s == 30
    database = read_settings({"DATABASE_URL": "postgresql://x/y"}).state_database
    assert float(default["DATABASE_CONNECT_BUDGET_S"]) == database.connect_budget_s
    assert float(default["DATABASE_STATEMENT_TIMEOUT_S"]) == database.statement_timeout_s
    assert float(default["DATABASE_LOCK_TIMEOUT_S"]) == database.lock_timeout_s
    assert default["DATABASE_SCHEMA"] == database.schema
    telemetry = TelemetrySettings.from_environ({})
    assert int(default["OTEL_BSP_MAX_QUEUE_SIZE"]) == telemetry.queue_spans
    assert int(default["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"]) == telemetry.batch_spans
    assert float(default["OTEL_BSP_SCHEDULE_DELAY"]) == telemetry.delay_s * 1000
    assert float(default["OTEL_METRIC_EXPORT_INTERVAL"]) == telemetry.metrics_interval_s * 1000
    assert float(default["CABLEWAY_TELEMETRY_FLUSH_S"]) == telemetry.flush_deadline_s
    assert default["CABLEWAY_TELEMETRY_ON_FULL"] == telemetry.on_full
