"""
What the environment says: the one place that reads ``os.environ``.

`read_settings` is what a job uses: plain dataclasses, nothing heavy loaded. `get_settings` is the
same for commands and scripts, with what a ``.env`` file adds. An empty variable counts as not set.
Every value that is wrong is reported as a `SettingsError` that names the variable; values
themselves are never echoed where they may hold a secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

from cableway.errors import Fault, SettingsError

DEFAULT_SCHEMA = "cableway"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
MAX_IDENTIFIER_BYTES = 63

_NO_DATABASE = (
    "no database is named: set DATABASE_URL (postgresql://user:password@host:5432/name), "
    "or DATABASE_HOST with DATABASE_NAME, DATABASE_USER and DATABASE_PASSWORD"
)
_BAD_URL = (
    "DATABASE_URL is not a Postgres connection string: write postgresql://user:password@host:5432/name, "
    "with special characters of the password percent-encoded"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Which Postgres holds the state, and how long to try to reach it."""

    url: str | None = field(default=None, repr=False)
    """A connection string (``DATABASE_URL``); it goes before the single values."""
    host: str | None = None
    """A host name, or the folder of a unix socket (``DATABASE_HOST``)."""
    port: int = 5432
    """``DATABASE_PORT``."""
    name: str | None = None
    """The database's name (``DATABASE_NAME``)."""
    user: str | None = None
    """``DATABASE_USER``."""
    password: str | None = field(default=None, repr=False)
    """``DATABASE_PASSWORD``; also fills in what a connection string leaves out."""
    ssl_mode: str | None = None
    """libpq's sslmode (``DATABASE_SSL_MODE``); also fills in what a connection string leaves out."""
    schema: str = DEFAULT_SCHEMA
    """Where Cableway's own tables stand (``DATABASE_SCHEMA``)."""
    connect_budget_s: float = 30.0
    """Seconds to go on trying to connect (``DATABASE_CONNECT_BUDGET_S``); 0 tries once."""
    statement_timeout_s: float = 30.0
    """Seconds that one of our own statements may take (``DATABASE_STATEMENT_TIMEOUT_S``); 0: any."""
    lock_timeout_s: float = 10.0
    """Seconds that one of them may wait for a lock (``DATABASE_LOCK_TIMEOUT_S``); 0: any."""
    prepare_threshold: int | None = None
    """Executions after which a statement is prepared; None (behind PgBouncer): never."""

    def parameters(self) -> dict[str, str]:
        """The connection's parameters by libpq's names. Raise `SettingsError` where the URL does not parse."""
        if self.url is None:
            given = {"host": self.host, "port": str(self.port), "dbname": self.name, "user": self.user}
        else:
            given = _parse_url(self.url)
        given.setdefault("password", self.password)
        given.setdefault("sslmode", self.ssl_mode)
        return {name: value for name, value in given.items() if value is not None}

    @property
    def where(self) -> str:
        """Host, port and database, to be named in messages; never a password."""
        known = self.parameters()
        host = known.get("host") or known.get("hostaddr") or "the local socket"
        port = "" if host.startswith("/") else f":{known.get('port', '5432')}"
        return f"{host}{port}, database {known.get('dbname') or known.get('user') or 'of the user'!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What holds for every request that a bloc sends."""

    allow: tuple[str, ...] = ()
    """Hosts and networks beyond the public internet that requests may go to (``CABLEWAY_HTTP_ALLOW``, by comma)."""
    proxy: str | None = field(default=None, repr=False)
    """The proxy that requests go through (``CABLEWAY_HTTP_PROXY``); it may hold a password."""
    encrypt_key: str | None = field(default=None, repr=False)
    """What tokens for agents and their services are signed with (``ENCRYPT_KEY``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the environment decides."""

    database: DatabaseSettings | None = None
    """The state database; None where no ``DATABASE_URL`` and no ``DATABASE_HOST`` is set."""
    log_level: str = "INFO"
    """``LOG_LEVEL``."""
    log_levels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Level by logger name (``LOG_LEVELS``: ``name:LEVEL,name:LEVEL``)."""
    log_format: str = "text"
    """``LOG_FORMAT``: ``text``, or ``json`` for a JSON object on each line."""
    log_dir: str | None = None
    """Folder for log files (``LOG_DIR``)."""
    pipelines_logs_dir: str | None = None
    """Folder in which each run gets one of its own (``PIPELINES_LOGS_DIR``, in either case)."""
    file_root: str | None = None
    """Folder below which blocs may read files, links followed (``CABLEWAY_FILE_ROOT``); None: anywhere."""
    http: HttpSettings = field(default_factory=HttpSettings)
    """What holds for every request that a bloc sends."""
    progress_s: float = 30.0
    """Seconds between two lines on how far a run is (``CABLEWAY_PROGRESS_S``); 0: none, and no table on a terminal."""
    checkpoint_s: float = 3.0
    """Seconds between two times that a run stores how far it is (``CABLEWAY_CHECKPOINT_S``)."""
    termination_log: str = "/dev/termination-log"
    """Where the last line is left as well, if that file is there (``CABLEWAY_TERMINATION_LOG``)."""
    blocs: tuple[str, ...] = ()
    """Modules that bring bloc types (``CABLEWAY_BLOCS``, by comma)."""
    execution: str | None = None
    """What the platform calls this execution (``CABLEWAY_EXECUTION_ID``, else by the platform's own variables)."""
    max_launching: int = 10
    """Containers that may be starting at once (``CABLEWAY_MAX_LAUNCHING``)."""
    launch_deadline_s: float = 3600.0
    """Seconds after which a run that cannot be launched has failed (``CABLEWAY_LAUNCH_DEADLINE_S``)."""
    launch_start_s: float = 600.0
    """Seconds within which a launched container must claim its run (``CABLEWAY_LAUNCH_START_S``)."""
    secrets: tuple[str, ...] = ("env:", "file:")
    """Where secrets are looked for, in order (``CABLEWAY_SECRETS``, by comma)."""
    api_rate_per_s: int = 100
    """Requests a second that a caller of the API may send, and four times as many at once (``CABLEWAY_API_RATE``)."""
    unsigned_hooks: bool = False
    """Whether webhooks with ``auth: none`` are taken, from anybody who asks (``CABLEWAY_UNSIGNED_HOOKS``)."""
    payloads: str | None = None
    """Folder for what failed items held where that is too large for a row: ``file:/...`` or ``s3://bucket/prefix``
    (``CABLEWAY_PAYLOADS``); None: it is not kept."""
    launcher: str | None = None
    """What starts containers (``CABLEWAY_LAUNCHER``); None: the place decides."""
    otel_variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """``OTEL_*`` and our own of telemetry as they are; headers among them may hold credentials."""

    @property
    def state_database(self) -> DatabaseSettings:
        """The state database. Raise `SettingsError` naming the variables where none is set."""
        if self.database is None:
            raise SettingsError(_NO_DATABASE, [Fault("/DATABASE_URL", "missing", _NO_DATABASE)])
        return self.database


def environment() -> Mapping[str, str]:
    """The process's environment, for those who look up names that a user wrote."""
    return MappingProxyType(os.environ)


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Read *variables*, by default the environment. Raise `SettingsError` naming what is wrong."""
    known = _Variables(os.environ if variables is None else variables)
    return Settings(
        database=_database(known),
        log_level=_level(known.text("LOG_LEVEL") or "INFO", "LOG_LEVEL"),
        log_levels=_levels(known.text("LOG_LEVELS") or ""),
        log_format=_one_of((known.text("LOG_FORMAT") or "text").lower(), ("text", "json"), "LOG_FORMAT") or "text",
        log_dir=known.text("LOG_DIR"),
        pipelines_logs_dir=known.text("PIPELINES_LOGS_DIR") or known.text("pipelines_logs_dir"),
        file_root=known.text("CABLEWAY_FILE_ROOT"),
        http=HttpSettings(
            allow=known.words("CABLEWAY_HTTP_ALLOW"),
            proxy=known.text("CABLEWAY_HTTP_PROXY"),
            encrypt_key=known.text("ENCRYPT_KEY"),
        ),
        progress_s=known.seconds("CABLEWAY_PROGRESS_S", default=30.0),
        checkpoint_s=known.seconds("CABLEWAY_CHECKPOINT_S", default=3.0),
        termination_log=known.text("CABLEWAY_TERMINATION_LOG") or "/dev/termination-log",
        blocs=known.words("CABLEWAY_BLOCS"),
        execution=_execution(known),
        max_launching=known.whole("CABLEWAY_MAX_LAUNCHING", default=10, at_most=10_000),
        launch_deadline_s=known.seconds("CABLEWAY_LAUNCH_DEADLINE_S", default=3600.0),
        launch_start_s=known.seconds("CABLEWAY_LAUNCH_START_S", default=600.0),
        secrets=known.words("CABLEWAY_SECRETS") or ("env:", "file:"),
        api_rate_per_s=known.whole("CABLEWAY_API_RATE", default=100, at_most=1_000_000),
        unsigned_hooks=known.switch("CABLEWAY_UNSIGNED_HOOKS", default=False),
        payloads=_payloads(known.text("CABLEWAY_PAYLOADS")),
        launcher=known.text("CABLEWAY_LAUNCHER"),
        otel_variables=known.beginning("OTEL_", "CABLEWAY_TELEMETRY_", "CABLEWAY_LOCAL_SPANS"),
    )


def get_settings(env_file: str | None = ".env") -> Settings:
    """Read the environment and, for what it does not set, *env_file* where there is one."""
    return read_settings(get_environment(env_file))


def get_environment(env_file: str | None = ".env") -> dict[str, str]:
    """The environment with what *env_file* adds to it: what a child process is to be given."""
    if env_file is None or not os.path.exists(env_file):  # noqa: PTH110 - pathlib would be loaded for this alone
        return dict(os.environ)
    from dotenv import dotenv_values

    from_file = {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    return {**from_file, **os.environ}


class _Variables:
    """Named values that come as text."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str | None:
        value = self._variables.get(name, "").strip()
        return value or None

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in (self.text(name) or "").split(",") if word.strip())

    def beginning(self, *prefixes: str) -> dict[str, str]:
        return {name: value for name, value in self._variables.items() if name.startswith(prefixes) and value.strip()}

    def switch(self, name: str, *, default: bool) -> bool:
        match (self.text(name) or "").lower():
            case "":
                return default
            case "1" | "true" | "yes" | "on":
                return True
            case "0" | "false" | "no" | "off":
                return False
            case _:
                return _refuse(name, "must be 1 or 0")

    def whole(self, name: str, *, default: int, at_most: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= at_most):
            _refuse(name, f"must be a whole number from 1 to {at_most}")
        return int(text)

    def seconds(self, name: str, *, default: float) -> float:
        text = self.text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 86_400:
            _refuse(name, "must be a number of seconds from 0 to 86400")
        return value


def _database(known: _Variables) -> DatabaseSettings | None:
    url, host = known.text("DATABASE_URL"), known.text("DATABASE_HOST")
    if url is None and host is None:
        return None
    return DatabaseSettings(
        url=url,
        host=host,
        port=known.whole("DATABASE_PORT", default=5432, at_most=65_535),
        name=known.text("DATABASE_NAME") or (None if url else _missing("DATABASE_NAME")),
        user=known.text("DATABASE_USER") or (None if url else _missing("DATABASE_USER")),
        password=known.text("DATABASE_PASSWORD"),
        ssl_mode=_one_of(known.text("DATABASE_SSL_MODE"), SSL_MODES, "DATABASE_SSL_MODE"),
        schema=_schema(known.text("DATABASE_SCHEMA") or DEFAULT_SCHEMA),
        connect_budget_s=known.seconds("DATABASE_CONNECT_BUDGET_S", default=30.0),
        statement_timeout_s=known.seconds("DATABASE_STATEMENT_TIMEOUT_S", default=30.0),
        lock_timeout_s=known.seconds("DATABASE_LOCK_TIMEOUT_S", default=10.0),
        prepare_threshold=5 if known.switch("DATABASE_PREPARE", default=False) else None,
    )


def _execution(known: _Variables) -> str | None:
    """What stays the same when the platform repeats this execution."""
    given, execution = known.text("CABLEWAY_EXECUTION_ID"), known.text("CLOUD_RUN_EXECUTION")
    metadata, index = known.text("ECS_CONTAINER_METADATA_URI_V4"), known.text("CLOUD_RUN_TASK_INDEX")
    in_a_pod, host = known.text("KUBERNETES_SERVICE_HOST"), known.text("HOSTNAME")
    batch, app = known.text("AWS_BATCH_JOB_ID"), known.text("CONTAINER_APP_JOB_EXECUTION_NAME")
    if given is not None:
        return given
    if batch is not None:
        return f"batch:{batch}"
    if app is not None:
        return f"containerapp:{app}"
    if execution is not None:
        return f"cloudrun:{execution}/{index or 0}"
    if metadata is not None:
        # Its last part is the task's id, and then the container's.
        return f"ecs:{metadata.rstrip('/').rpartition('/')[2].partition('-')[0]}"
    if in_a_pod is not None and host is not None:
        return f"kubernetes:{host}"
    return None


def _parse_url(url: str) -> dict[str, str | None]:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    scheme, separator, rest = url.partition("://")
    # Others' drivers write theirs into the scheme; it is the same server.
    plain = scheme.partition("+")[0] if separator else scheme
    try:
        # What libpq says about a bad one quotes it, password and all.
        parsed = conninfo_to_dict(plain + separator + rest)
    except ProgrammingError:
        raise SettingsError(_BAD_URL, [Fault("/DATABASE_URL", "invalid", _BAD_URL)]) from None
    return {name: str(value) for name, value in parsed.items() if value is not None}


def _payloads(where: str | None) -> str | None:
    if where is None or where.startswith("file:/") or (where.startswith("s3://") and len(where) > len("s3://")):
        return where
    return _refuse("CABLEWAY_PAYLOADS", "must be file:/FOLDER or s3://BUCKET/PREFIX")


def _schema(name: str) -> str:
    if len(name.encode()) > MAX_IDENTIFIER_BYTES or "\x00" in name or name.startswith("pg_") or name == "public":
        _refuse("DATABASE_SCHEMA", "must be at most 63 bytes, not 'public', and not begin with 'pg_'")
    return name


def _level(value: str, variable: str) -> str:
    level = value.upper()
    if level not in LOG_LEVELS:
        _refuse(variable, f"knows the levels {', '.join(LOG_LEVELS)}")
    return level


def _levels(text: str) -> dict[str, str]:
    levels: dict[str, str] = {}
    for entry in text.split(","):
        if not entry.strip():
            continue
        name, colon, level = entry.strip().partition(":")
        if not colon or not name:
            _refuse("LOG_LEVELS", "is a list such as cableway.scheduler:INFO,cableway:WARNING")
        levels[name.strip()] = _level(level.strip(), "LOG_LEVELS")
    return levels


def _one_of(value: str | None, allowed: tuple[str, ...], variable: str) -> str | None:
    if value is not None and value not in allowed:
        _refuse(variable, f"must be one of {', '.join(allowed)}")
    return value


def _missing(variable: str) -> NoReturn:
    message = f"{variable} must be set beside DATABASE_HOST, or give all in DATABASE_URL"
    raise SettingsError(message, [Fault(f"/{variable}", "missing", message)])


def _refuse(variable: str, rule: str) -> NoReturn:
    message = f"{variable} {rule}"
    raise SettingsError(message, [Fault(f"/{variable}", "invalid", message)])
