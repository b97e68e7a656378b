"""
What a database's error means to us.

class 28, a refused role or password   CredentialsError   77
42501, a right that is missing         CredentialsError   77
3D000, no such database                SettingsError      78
class 08, 53, 57; a lost connection    UnavailableError   69
25006, a server that only reads        UnavailableError   69
40001, 40P01, 55P03 after retries      UnavailableError   69

Everything else is a bug of ours and passes through as it is. A server says why it refused a
connection in words alone (libpq keeps no code for it), so those are read.
"""

from __future__ import annotations

import psycopg

from cableway.errors import CablewayError, CredentialsError, SettingsError, UnavailableError
from cableway.settings import DatabaseSettings

CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same statement may succeed when it is sent again."""

_MISSING_TABLES = frozenset({"42P01", "3F000", "42703"})
_REFUSED = ("password authentication failed", "no password supplied", "authentication failed", "no pg_hba.conf entry")


def translate(error: psycopg.Error, settings: DatabaseSettings) -> CablewayError | None:
    """*error* in our words, or None where it is a bug."""
    state = error.sqlstate
    where = settings.where
    if state is None:
        return _without_code(error, where)
    if state.startswith("28"):
        return CredentialsError(f"Postgres at {where} refused the role: {_said(error)}")
    if state == "42501":
        return CredentialsError(f"the role has no right to do this in Postgres at {where}: {_said(error)}")
    if state == "3D000":
        return SettingsError(f"Postgres at {where}: {_said(error)}")
    if state[:2] in {"08", "53", "57"} or state in CONFLICTS or state in {"25006", "55P03"}:
        return UnavailableError(f"Postgres at {where} is not available: {_said(error)}")
    return None


def translate_refusal(error: psycopg.Error, settings: DatabaseSettings) -> CablewayError:
    """Why a connection could not be made; `UnavailableError` where trying again may help."""
    words = " ".join(str(error).split())
    pgconn = error.pgconn
    if (pgconn is not None and pgconn.needs_password) or any(refusal in words for refusal in _REFUSED):
        return CredentialsError(
            f"Postgres at {settings.where} refused the role {settings.parameters().get('user', '')!r}: "
            "check DATABASE_USER and DATABASE_PASSWORD, or DATABASE_URL"
        )
    if 'FATAL:  role "' in str(error):
        return CredentialsError(f"Postgres at {settings.where} knows no role {settings.parameters().get('user', '')!r}")
    if 'FATAL:  database "' in str(error) and "does not exist" in words:
        return SettingsError(f"there is no such database: {settings.where}. Create it, or correct DATABASE_NAME")
    return UnavailableError(f"Postgres at {settings.where} cannot be reached: {_reason(words)}")


def lacks_tables(error: psycopg.Error) -> bool:
    """Whether the schema is not there, or is an older version's."""
    return error.sqlstate in _MISSING_TABLES


def _without_code(error: psycopg.Error, where: str) -> CablewayError | None:
    # What libpq itself notices (a connection cut off, a closed one) carries no code.
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return UnavailableError(f"the connection to Postgres at {where} was lost")
    return None


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or type(error).__name__


def _reason(words: str) -> str:
    for known in (
        "Connection refused",
        "No such file or directory",
        "timeout expired",
        "could not translate host name",
    ):
        if known in words:
            return known[0].lower() + known[1:]
    _, fatal, reason = words.partition("FATAL: ")
    return reason.strip() if fatal else words.removeprefix("connection failed: ")
