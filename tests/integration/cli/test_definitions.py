"""Plan, apply, show, diff; a part tried out; completion and doctor: with a real Postgres."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import yaml

from cableway_handlers.cli import completion
from tests.integration.cli.conftest import PIPELINE
from tests.unit.cli.conftest import Command

STORE = """  - name: store
    blocs:
      - {name: out, bloc_type: postgres_exporter, config: {table_name: doubled}}
"""


@pytest.fixture
def folder(cableway: Command) -> Path:
    folder = Path("pipelines")
    folder.mkdir()
    (folder / "tiny.yaml").write_text(PIPELINE)
    (folder / "other.yaml").write_text(PIPELINE.replace("name: tiny", "name: other"))
    return folder


def test_a_plan_tells_what_apply_then_does(cableway: Command, folder: Path) -> None:
    assert cableway("plan", str(folder)) == 0
    assert cableway.out.splitlines() == [
        "+ other (pipelines/other.yaml): new",
        "+ tiny (pipelines/tiny.yaml): new",
    ]
    assert cableway.json("pipelines") == []
    assert cableway("apply", str(folder)) == 0
    assert cableway.err.splitlines() == ["other: version 1 stored", "tiny: version 1 stored"]
    (folder / "tiny.yaml").write_text(PIPELINE.replace("factor: 2", "factor: 3") + STORE)
    assert cableway("plan", str(folder)) == 0
    assert cableway.out.splitlines() == [
        "= other (pipelines/other.yaml): unchanged",
        "~ tiny (pipelines/tiny.yaml): changed from version 1",
        "    ~ /stages/1/blocs/0/config/factor: 2.0 -> 3.0",
        "    + /stages/2: 'store'",
    ]
    planned = {each["name"]: each for each in cableway.json("plan", str(folder))}
    assert (planned["other"]["action"], planned["tiny"]["action"]) == ("keep", "update")
    assert planned["tiny"]["changes"][0] == {
        "op": "replace",
        "pointer": "/stages/1/blocs/0/config/factor",
        "before": 2,
        "after": 3,
    }
    assert cableway("apply", str(folder), "--author", "ada", "--note", "thrice") == 0
    assert cableway.err.splitlines() == ["other: version 1 is the same, nothing stored", "tiny: version 2 stored"]
    shown = cableway.json("show", "tiny")
    assert (shown["version"], shown["author"], shown["note"]) == (2, "ada", "thrice")


def test_nothing_is_stored_where_one_of_several_is_faulty(cableway: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(PIPELINE.replace("csv_loader", "csv_laoder"))
    for command in ("plan", "apply"):
        assert cableway(command, str(folder)) == 78
        assert "pipelines/tiny.yaml#/stages/0/blocs/0/bloc_type" in cableway.err
    assert cableway.json("pipelines") == []


def test_a_stored_pipeline_is_shown_as_it_was_written(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("show", "tiny") == 0
    assert yaml.safe_load(cableway.out) == yaml.safe_load(PIPELINE)
    Path("again.yaml").write_text(cableway.out)
    assert cableway.json("apply", "again.yaml")[0]["created"] is False
    assert cableway("show", "tiny", "--normalized") == 0
    assert yaml.safe_load(cableway.out)["stages"][0]["queue_size"] == 100
    assert cableway("show", "tiny", "--version", "2") == 78
    assert "no version 2" in cableway.err


def test_what_no_document_describes_is_pruned_on_request(cableway: Command, folder: Path) -> None:
    assert cableway("apply", str(folder)) == 0
    (folder / "other.yaml").unlink()
    (folder / "third.yaml").write_text(PIPELINE.replace("name: tiny", "name: third"))
    assert cableway("plan", str(folder)) == 0
    assert "other" not in cableway.out
    assert cableway("plan", str(folder), "--prune") == 0
    assert cableway.out.splitlines()[-1] == "- other: goes to the archive"
    assert cableway.err == "1 to store, 1 unchanged, 1 to archive; nothing is changed yet\n"
    assert {"name": "other", "archived": True} in cableway.json("apply", str(folder), "--prune")
    assert [row["name"] for row in cableway.json("pipelines")] == ["third", "tiny"]
    assert [row["name"] for row in cableway.json("pipelines", "--archived")] == ["other", "third", "tiny"]
    assert cableway("run", "other", "-p", "day=monday") == 78
    (folder / "other.yaml").write_text(PIPELINE.replace("name: tiny", "name: other"))
    assert cableway("plan", str(folder)) == 0
    assert "+ other (pipelines/other.yaml): comes back from the archive" in cableway.out
    assert cableway("apply", str(folder)) == 0
    assert len(cableway.json("pipelines")) == 3


def test_triggers_are_planned_and_one_that_is_anothers_leaves_nothing_stored(cableway: Command, folder: Path) -> None:
    trigger = "triggers:\n  hourly: {expression: 0 * * * *, parameters: {day: monday}}\n"
    (folder / "tiny.yaml").write_text(PIPELINE + trigger)
    assert cableway("apply", str(folder)) == 0
    assert cableway("plan", str(folder)) == 0
    assert cableway.err == "0 to store, 2 unchanged, 0 to archive; nothing is changed yet\n"
    (folder / "tiny.yaml").write_text(PIPELINE + trigger.replace("0 *", "5 *"))
    assert cableway("plan", str(folder)) == 0
    assert '~ /triggers/hourly/expression: "0 * * * *" -> "5 * * * *"' in cableway.out
    (folder / "new.yaml").write_text(PIPELINE.replace("name: tiny", "name: new"))
    (folder / "other.yaml").write_text(PIPELINE.replace("name: tiny", "name: other") + trigger)
    assert cableway("apply", str(folder)) == 78
    assert "'hourly'" in cableway.err
    assert [row["name"] for row in cableway.json("pipelines")] == ["other", "tiny"]


def test_a_pipeline_goes_to_another_version_and_back(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml", "--author", "ada", "--note", "the first") == 0
    Path("tiny.yaml").write_text(PIPELINE.replace("factor: 2", "factor: 5"))
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("rollback", "tiny") == 0
    assert cableway.err == "tiny: version 1 is active\n"
    assert cableway("versions", "tiny") == 0
    assert "1 *" in cableway.out
    assert "the first" in cableway.out
    listed = cableway.json("versions", "tiny")
    assert [(row["version"], row["active"]) for row in listed] == [(2, False), (1, True)]
    assert cableway("rollback", "tiny") == 78
    assert cableway.json("activate", "tiny", "2") == {"name": "tiny", "version": 2}
    assert cableway("activate", "tiny", "3") == 78
    assert "no version 3" in cableway.err
    assert cableway("archive", "tiny") == 0
    assert cableway.err == "tiny: archived\n"
    assert cableway.json("pipelines") == []
    assert cableway("versions", "nothing") == 78


def test_bloc_types_are_published(cableway: Command) -> None:
    assert cableway.json("blocs", "list", "--published") == []
    assert "csv_loader" in cableway.json("blocs", "publish")["published"]
    assert cableway("blocs", "publish", "--prune") == 0
    assert cableway.err == "published: nothing that was not there\n"
    assert cableway("blocs", "list", "--published") == 0
    assert "csv_loader" in cableway.out


def test_two_versions_are_compared(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    Path("tiny.yaml").write_text(PIPELINE.replace("workers", "x").replace("factor: 2", "factor: 5"))
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("diff", "tiny", "1", "2") == 0
    assert cableway.out == "~ /stages/1/blocs/0/config/factor: 2.0 -> 5.0\n"
    assert cableway.json("diff", "tiny", "2", "1")[0]["after"] == 2
    assert cableway("diff", "tiny", "1", "1") == 0
    assert cableway.err == "they say the same\n"
    assert cableway("diff", "tiny", "1", "3") == 78


def test_a_part_of_a_stored_pipeline_is_tried_out_and_not_recorded(cableway: Command, database: str) -> None:
    Path("tiny.yaml").write_text(PIPELINE + STORE)
    assert cableway("apply", "tiny.yaml") == 0
    arguments = ("run", "tiny", "-p", "day=monday")
    shown = cableway.json(*arguments, "--dry-run", "--limit", "1")
    assert shown["result"]["outputs"]["out"]["would_write"]["rows"] == 2
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('public.doubled')").fetchone() == (None,)
        assert cableway("run", "--file", "tiny.yaml", "-p", "day=monday", "--limit", "1") == 0, cableway.err
        assert connection.execute("SELECT a FROM public.doubled ORDER BY a").fetchall() == [(2,), (4,)]
    assert cableway.json("runs", "list") == []


@pytest.mark.usefixtures("without_schema")
def test_names_are_completed(cableway: Command) -> None:
    assert completion.pipelines("") == [], "there is no schema yet, and none is made"
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("run", "tiny", "-p", "day=monday") == 0
    (row,) = cableway.json("runs", "list")
    assert completion.pipelines("ti") == [("tiny", "")]
    assert completion.pipelines("x") == []
    assert completion.pipelines_and_runs(row["run_id"][:4]) == [(row["run_id"], "tiny, succeeded")]
    assert completion.pipelines_and_runs("") == [("tiny", "")]


@pytest.mark.usefixtures("without_schema")
def test_doctor_sees_the_database_and_its_schema(cableway: Command, database: str) -> None:
    found = {each["what"]: each["words"] for each in cableway.json("doctor")}
    assert found["database"].startswith("Postgres 1")
    assert found["schema"] == "'cableway' is not there yet; the first use makes it"
    assert cableway("migrate") == 0
    found = {each["what"]: each["words"] for each in cableway.json("doctor")}
    assert "as it should be" in found["schema"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE cableway.migrations SET number = number + 900")
    assert cableway("doctor") == 78
    assert "use a newer Cableway" in cableway.out


@pytest.mark.usefixtures("without_schema")
def test_migrate_tells_json(cableway: Command) -> None:
    assert cableway.json("migrate")["applied"][0].startswith("0001")
    assert cableway.json("migrate") == {"schema": "cableway", "applied": []}
