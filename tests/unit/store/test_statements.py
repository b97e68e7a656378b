from __future__ import annotations

import re
from pathlib import Path

from cableway.store.ids import is_id, new_id
from cableway.store.migrations import migrations
from cableway.store.statements import Queries, names
from cableway.store.versions import SCHEMA_NUMBER

STORE = Path(__file__).parents[3] / "engine" / "cableway" / "store"
NAMED = re.compile(r"""\b(?:rows|row|_write|Step|ask|Ear)\((?:[\w.]+, )?\s*"([a-z_]+)\"""")


def used() -> set[str]:
    engine, handlers = STORE.parent, STORE.parents[2] / "handlers"
    files = [
        *engine.glob("*.py"),
        *engine.glob("store*/*.py"),
        *engine.glob("blocs/postgres/*.py"),
        *engine.glob("explaining/*.py"),
        *handlers.rglob("*.py"),
    ]
    return {name for file in files for name in NAMED.findall(file.read_text())}


def test_every_statement_is_used_and_every_name_has_one() -> None:
    assert sorted(used()) == sorted(names())


def test_a_strange_schema_is_quoted() -> None:
    queries = Queries("a\"b'%s; DROP TABLE x;--")
    text = queries["claim"].decode()
    assert text.count('"a""b\'%%s; DROP TABLE x;--".runs') == 2
    assert "nextval('\"a\"\"b''%%s; DROP TABLE x;--\".lease_tokens')" in text
    assert queries["claim"] is queries["claim"]


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, SCHEMA_NUMBER + 1))
    assert all(re.fullmatch(r"\d{4}_[a-z_]+", migration.name) for migration in migrations())


def test_ids_sort_by_time_and_are_uuids_of_version_7() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", each) for each in ids
    )
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)


def test_what_can_be_an_id() -> None:
    assert is_id("01a1ff6e-3845-7665-876d-4224aee43cbb")
    assert is_id("01A1FF6E38457665876D4224AEE43CBB")
    for text in ("", "x", "01a1ff6e-3845-7665-876d-4224aee43cb", "01a1ff6e-3845-7665-876d-4224aee43cbg", "-" * 36):
        assert not is_id(text), text
