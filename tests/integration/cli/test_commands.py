"""The commands over a real Postgres, in this process."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import PIPELINE
from tests.unit.cli.conftest import Command


def test_a_document_is_validated_applied_and_listed(cableway: Command) -> None:
    assert cableway("validate", "tiny.yaml") == 0
    assert cableway.err == "tiny: 2 stages, 2 blocs, valid\n"
    assert cableway("apply", "tiny.yaml", "--note", "the first one") == 0
    assert cableway.err == "tiny: version 1 stored\n"
    same = {"name": "tiny", "version": 1, "created": False}
    assert cableway.json("apply", "tiny.yaml") == [same]
    assert [row["name"] for row in cableway.json("pipelines")] == ["tiny"]
    assert cableway("pipelines") == 0
    assert "tiny" in cableway.out


def test_a_faulty_document_is_refused_with_every_fault(cableway: Command) -> None:
    faulty = PIPELINE.replace("csv_loader", "csv_laoder").replace("factor: 2", "factor: many")
    Path("faulty.yaml").write_text(faulty)
    for command in ("validate", "apply"):
        assert cableway(command, "faulty.yaml") == 78
        assert "csv_laoder" in cableway.err
        assert "factor" in cableway.err
    assert cableway.json("pipelines") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["validate", "nothing.yaml"], 78, "nothing.yaml"),
        (["run", "nothing"], 78, "no pipeline 'nothing'"),
        (["run", str(uuid4())], 78, "no run"),
        (["run", str(uuid4()), "-p", "a=1"], 2, "give its id alone"),
        (["runs", "show", "nothing"], 78, "no run 'nothing'"),
        (["serve", "--host", "0.0.0.0"], 78, "refusing to listen on 0.0.0.0"),
    ],
)
def test_what_is_wrong_is_named(cableway: Command, arguments: list[str], code: int, words: str) -> None:
    assert cableway(*arguments) == code
    assert words in cableway.err
    assert "Traceback" not in cableway.err
    assert len(cableway.err.splitlines()) <= 2


def test_wrong_parameters_record_no_run(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("run", "tiny", "-p", "nothing=1") == 78
    assert "/nothing" in cableway.err
    assert "/day" in cableway.err
    assert cableway("run", "tiny") == 78
    assert "/day" in cableway.err
    assert cableway.json("runs", "list") == []


def test_no_runs_yet_says_how_to_make_one(cableway: Command) -> None:
    assert cableway("runs", "list") == 0
    assert cableway.err == "no runs yet: `cableway run NAME` makes one\n"


@pytest.mark.usefixtures("without_schema")
def test_migrate_makes_the_schema_and_then_nothing(cableway: Command) -> None:
    assert cableway("migrate") == 0
    assert "applied 0001" in cableway.err
    assert cableway("migrate") == 0
    assert cableway.err == "the schema 'cableway' is up to date\n"


def test_a_server_that_is_not_there_is_exit_code_69(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/nowhere")
    monkeypatch.setenv("DATABASE_CONNECT_BUDGET_S", "0")
    assert cableway("pipelines") == 69
    assert "127.0.0.1:1" in cableway.err
    assert "hunter2" not in cableway.err


def test_a_run_is_recorded_started_and_shown(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("run", "tiny", "-p", "day=monday", "--key", "k1") == 0, cableway.err
    assert "succeeded" in cableway.out
    (row,) = cableway.json("runs", "list")
    assert (row["state"], row["parameters"], row["exit_code"]) == ("succeeded", {"day": "monday"}, 0)
    assert cableway("runs", "show", row["run_id"]) == 0
    assert "times" in cableway.out
    shown = cableway.json("runs", "show", row["run_id"])
    assert [stage["stage"] for stage in shown["stages"]] == ["load", "times"]
    assert cableway("run", "tiny", "-p", "day=monday", "--key", "k1") == 0
    assert "has made run" in cableway.err
    assert len(cableway.json("runs", "list")) == 1


def test_a_pipelines_name_means_its_newest_run(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("runs", "show", "tiny") == 78
    assert "no run 'tiny', and no pipeline of this name that has run" in cableway.err
    for day in ("monday", "tuesday"):
        assert cableway("run", "tiny", "-p", f"day={day}") == 0, cableway.err
    newest, *_ = cableway.json("runs", "list")
    assert cableway.json("runs", "show", "tiny")["run"] == newest
    assert cableway.json("runs", "watch", "tiny")["run"]["run_id"] == newest["run_id"]
    assert cableway("runs", "explain", "tiny") == 0, cableway.err
    assert cableway("runs", "logs", "tiny") == 0, cableway.err
    assert cableway("runs", "cancel", "tiny") == 78, "what changes a run wants its id"


def test_a_failed_run_has_its_words_and_the_jobs_exit_code(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    Path("data.csv").unlink()
    assert cableway("run", "tiny", "-p", "day=monday") == 3
    assert "data.csv" in cableway.out
    assert cableway("runs", "list") == 0
    assert "failed" in cableway.out


def test_a_run_of_which_items_failed_says_where_to_look(cableway: Command) -> None:
    Path("odd.yaml").write_text(
        "name: odd\nstages:\n  - [{name: a, bloc_type: csv_loader, config: {file_path: data.csv}}]\n"
        "  - [{name: b, bloc_type: select, config: {columns: [nowhere]}}]\n"
    )
    assert cableway("apply", "odd.yaml") == 0
    assert cableway("run", "odd") == 3
    (row,) = cableway.json("runs", "list")
    assert cableway("run", "odd") == 3
    assert "`cableway dead-letters list --run " in cableway.err
    assert cableway("dead-letters", "list", "--run", row["run_id"]) == 0
    assert "nowhere" in cableway.out


def test_a_run_whose_job_died_before_it_began_may_be_tried_again(
    cableway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    monkeypatch.setenv("LOG_LEVEL", "nonsense")
    assert cableway("run", "tiny", "-p", "day=monday") == 78
    monkeypatch.delenv("LOG_LEVEL")
    Path("sitecustomize.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", ".")
    assert cableway("run", "tiny", "-p", "day=monday") != 0
    (row,) = cableway.json("runs", "list")
    assert row["state"] == "queued"
    monkeypatch.delenv("PYTHONPATH")
    assert cableway("run", row["run_id"]) == 0, cableway.err
    assert "succeeded" in cableway.out


def test_a_run_in_parts_loads_all_files(cableway: Command) -> None:
    Path("b.csv").write_text("a,b\n4,w\n")
    Path("in_parts.yaml").write_text(
        """
name: in_parts
stages:
  - name: load
    blocs: [{name: rows, bloc_type: csv_loader, config: {file_path: "*.csv", batch_size: 2}}]
  - name: store
    blocs: [{name: out, bloc_type: postgres_exporter, config: {table_name: parted, if_exists: append}}]
settings: {concurrency: 2}
"""
    )
    assert cableway("apply", "in_parts.yaml") == 0, cableway.err
    done = cableway.json("run", "in_parts", "--parts", "2", "--key", "today")
    assert (done["run"]["state"], done["run"]["rows_out"], len(done["parts"])) == ("succeeded", 4, 2)
    assert cableway("run", "in_parts", "--parts", "2", "--key", "today") == 0
    assert "2 parts" in cableway.err
    assert cableway("run", done["run"]["run_id"], "--parts", "2") == 2
    assert "by its name" in cableway.err
