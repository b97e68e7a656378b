"""``cableway keys``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from cableway.errors import UsageError
from cableway_handlers.api.keys import KeyRow, create_key, read_keys, revoke_key
from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace

_AGE = re.compile(r"([1-9][0-9]{0,6})([smhdwy])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def create(name: str, scopes: Sequence[str], pipelines: Sequence[str], expires: str | None, *, json: bool) -> None:
    """Make a key; its text goes to stdout, so that it can be taken by a pipe."""
    expires_in_s = None if expires is None else _seconds(expires)
    with workplace() as place, place.storage() as storage, storage.session.transaction():
        made = storage.session.drive(create_key(name, scopes, pipelines=pipelines, expires_in_s=expires_in_s))
        there = {row.name for row in storage.list_pipelines()}
    for missing in sorted(set(pipelines) - there):
        screen.say(f"there is no pipeline {missing!r}: until there is, the key opens nothing of it")
    if json:
        screen.as_json({**_fields(made.key), "key": made.text})
        return
    sys.stdout.write(f"{made.text}\n")
    screen.say("this is the only time that the key is shown; send it as 'Authorization: Bearer ...'")


def show(*, json: bool) -> None:
    """List the keys."""
    with workplace() as place, place.storage() as storage:
        rows = storage.session.drive(read_keys())
    if json:
        screen.as_json([_fields(row) for row in rows])
        return
    table = screen.table("name", "prefix", "scopes", "pipelines", "created", "expires", "revoked", "last used")
    for row in rows:
        names = [row.name, f"cw_{row.prefix}", ", ".join(row.scopes), ", ".join(row.pipelines or ["all"])]
        times = [row.created_at, row.expires_at, row.revoked_at, row.last_used_at]
        table.add_row(*map(screen.plain, names), *map(screen.when, times))
    screen.print_table(table, rows, "there are no keys: on this machine the API answers everybody, beyond it nobody")


def revoke(name: str, *, json: bool) -> None:
    """Revoke the key of this name or prefix."""
    with workplace() as place, place.storage() as storage, storage.session.transaction():
        row = storage.session.drive(revoke_key(name.removeprefix("cw_")))
    if json:
        screen.as_json(_fields(row))
    else:
        screen.say(f"the key {row.name!r} opens nothing any more")


def _fields(row: KeyRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in KeyRow.__dataclass_fields__}


def _seconds(age: str) -> float:
    found = _AGE.fullmatch(age)
    if found is None:
        raise UsageError(f"--expires takes a number and a unit (s, m, h, d, w, y) as in 90d, and {age!r} is not that")
    return float(found[1]) * _UNIT_S[found[2]]
