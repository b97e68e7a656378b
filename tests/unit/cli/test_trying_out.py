"""`cableway run --file`, and parts of a pipeline: in this process, without a database."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command

RUN = ("run", "--file", "tiny.yaml", "-p", "day=monday")


def test_a_dry_run_shows_what_would_be_written(cableway: Command) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert cableway(*RUN, "--dry-run") == 0, cableway.err
    assert "tiny succeeded" in cableway.out
    assert "out: would have written 3 rows in 2 items, table public.doubled" in cableway.out
    assert '{"a": 2, "b": "x"}' in cableway.out
    assert "recorded nowhere" in cableway.err
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Path(".cableway").exists()


def test_json_has_the_whole_result(cableway: Command) -> None:
    shown = cableway.json(*RUN, "-p", "times=3", "--dry-run", "--limit", "1")
    assert (shown["state"], shown["recorded"], shown["parameters"]) == (
        "succeeded",
        False,
        {"day": "monday", "times": 3},
    )
    assert shown["result"]["rows_in"] == 2
    assert shown["result"]["outputs"]["out"]["would_write"]["sample"] == [{"a": 3, "b": "x"}, {"a": 6, "b": "y"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [("given.json", '[{"a": 5}]'), ("given.jsonl", '{"a": 5}\n\n'), ("given.csv", "a\n5\n")],
)
def test_a_stage_is_tried_with_given_data(cableway: Command, name: str, text: str) -> None:
    Path(name).write_text(text)
    arguments = ("--from", "times", "--dry-run", "--input", f"rows={name}")
    shown = cableway.json(*RUN, *arguments)
    assert shown["result"]["outputs"]["out"]["would_write"]["sample"] == [{"a": 10}]


def test_a_run_ends_with_the_stage_that_is_named(cableway: Command) -> None:
    shown = cableway.json(*RUN, "--to", "times")
    assert [stage["stage"] for stage in shown["result"]["stages"]] == ["load", "times"]


def test_a_run_that_fails_says_why_and_has_its_exit_code(cableway: Command) -> None:
    Path("data.csv").unlink()
    assert cableway(*RUN, "--dry-run") == 3
    assert "data.csv" in cableway.err
    assert "tiny failed" in cableway.out


def test_an_exporter_without_a_database_is_named(cableway: Command) -> None:
    assert cableway(*RUN) == 78
    assert "bloc 'out' has no database to write to" in cableway.err


def test_every_wrong_parameter_is_named_at_once(cableway: Command) -> None:
    problem = cableway.json("run", "-f", "tiny.yaml", "-p", "nothing=1", "-p", "times=many", code=78)
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "/parameters/nothing",
        "/parameters/day",
        "/parameters/times",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "which one?"),
        (("run", "tiny", "--file", "tiny.yaml"), "which one?"),
        ((*RUN, "--key", "k"), "--key is for runs that are recorded"),
        (("run", "01a1ff9c-609a-75ea-8b41-90bb233d9bfd", "--dry-run"), "a recorded run is run as it is"),
        ((*RUN, "--input", "rows"), "--input takes BLOC=FILE"),
        ((*RUN, "--input", "rows=nothing.json"), "nothing.json: cannot be read"),
        ((*RUN, "--input", "rows=data.txt"), "ends in .json, .jsonl or .csv"),
        ((*RUN, "--input", "rows=tiny.json"), "tiny.json: is no JSON"),
        ((*RUN, "--from", "tims"), "no stage 'tims'; there are: load, times, store"),
        ((*RUN, "--from", "store"), "read what was left out: doubled"),
    ],
)
def test_a_wrong_wish_is_exit_code_2(cableway: Command, arguments: tuple[str, ...], words: str) -> None:
    Path("tiny.json").write_text("{")
    assert cableway(*arguments) == 2
    assert words in cableway.err
