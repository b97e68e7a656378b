"""Which schema this version of Cableway works on. Apart from the migrations, so that a job need not load those."""

from __future__ import annotations

from cableway.errors import SchemaVersionError
from cableway.settings import DatabaseSettings

SCHEMA_NUMBER = 9
"""Number of the newest file in ``schema/``."""


def check_number(number: int | None, settings: DatabaseSettings) -> None:
    """Raise `SchemaVersionError` unless a schema that stands at migration *number* is ours."""
    if number == SCHEMA_NUMBER:
        return
    has = f"the schema {settings.schema!r} in Postgres at {settings.where} is at migration {number or 0}"
    if (number or 0) < SCHEMA_NUMBER:
        raise SchemaVersionError(f"{has}, this Cableway needs {SCHEMA_NUMBER}: run `cableway migrate`")
    raise SchemaVersionError(f"{has}, this Cableway knows {SCHEMA_NUMBER}: use a newer Cableway")
