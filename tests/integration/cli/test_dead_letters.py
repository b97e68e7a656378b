"""`cableway dead-letters`, `runs replay` and `runs retry`: looked at, worked on again, refused."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.unit.cli.conftest import Command

PIPELINE = """
name: stored
stages:
  - name: load
    blocs:
      - {name: rows, bloc_type: csv_loader, config: {file_path: data.csv, batch_size: 1, types: {a: int64, b: string}}}
  - name: store
    blocs:
      - {name: out, bloc_type: postgres_exporter, config: {table_name: out, if_exists: append}}
settings: {max_errors: 2}
"""


def test_dead_letters_from_their_failure_to_their_end(cableway: Command, database: str) -> None:
    def query(text: str) -> list[tuple[int]]:
        with psycopg.connect(database, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    Path("stored.yaml").write_text(PIPELINE)
    query("CREATE TABLE out (a bigint CONSTRAINT small CHECK (a < 2), b text)")
    assert cableway("apply", "stored.yaml") == 0
    assert cableway("dead-letters", "list") == 0
    assert "there are no dead letters" in cableway.err
    assert cableway("run", "stored") == 0
    letters = cableway.json("dead-letters", "list", "--bloc", "out", "--state", "open")
    assert [letter["stage"] for letter in letters] == ["store", "store"]
    run_id, newest = letters[0]["run_id"], str(letters[0]["letter_id"])
    assert cableway("dead-letters", "show", newest, "--stack") == 0
    assert '  "b": "z"\n' in cableway.out, "a payload has lines, as a stack has"
    assert "\ufffd" not in cableway.out
    assert "open" in cableway.out
    assert cableway("dead-letters", "show", "99999") == 78

    assert cableway("dead-letters", "replay") == 2
    assert "which dead letters?" in cableway.err
    assert cableway("runs", "replay", run_id) == 2
    assert cableway("runs", "retry", run_id) == 78
    assert "only one that ended without success" in cableway.err
    assert cableway("runs", "replay", run_id, "--failed", "--stage", "load") == 78

    (waiting,) = cableway.json("dead-letters", "replay", newest, "--no-wait")
    assert (waiting["replay_of"], waiting["letters"]) == (run_id, 1)
    assert cableway("runs", "cancel", waiting["run_id"]) == 0
    query("ALTER TABLE out DROP CONSTRAINT small")
    assert cableway("runs", "replay", run_id, "--failed") == 0
    assert "2 dead letters of run" in cableway.err
    assert query("SELECT a FROM out ORDER BY a") == [(1,), (2,), (3,)]
    assert cableway.json("dead-letters", "list", "--run", run_id, "--state", "open") == []
    assert cableway("runs", "retry", waiting["run_id"], "--no-wait") == 0
    assert "is queued again" in cableway.err
