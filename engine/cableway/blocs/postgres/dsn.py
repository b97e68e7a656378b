"""Which database a Postgres bloc works on: the one that its config names, else that of Cableway's state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cableway.errors import SettingsError

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings


def database_of(bloc: str, dsn: str | None, state: DatabaseSettings | None) -> DatabaseSettings | None:
    """The database at *dsn*, asked as patiently as the *state* database; without one that itself.

    Raise `SettingsError`, which does not quote it, where *dsn* is no connection string.
    """
    if dsn is None:
        return state
    from cableway.settings import DatabaseSettings

    settings = DatabaseSettings(url=dsn)
    if state is not None:
        settings = replace(settings, connect_budget_s=state.connect_budget_s)
    try:
        settings.parameters()
    except SettingsError:
        raise SettingsError(f"bloc {bloc!r}: its 'dsn' is no connection string of Postgres") from None
    return settings
