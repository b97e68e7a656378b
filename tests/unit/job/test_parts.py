"""The small parts: the last line, letters, references, row counts, joining, stopping, and the command line."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cableway import __main__
from cableway.definition import BlocDefinition, PipelineDefinition, StageDefinition
from cableway.errors import (
    DefinitionError,
    Fault,
    InterruptedRunError,
    ItemError,
    LeaseLostError,
    ResourceError,
    RowError,
    RunCancelledError,
)
from cableway.items import WorkItem
from cableway.references import with_references
from cableway.running import report
from cableway.running.joining import joined, joined_members
from cableway.running.letters import KEPT_AT_MOST, DeadLetterBox
from cableway.running.opening import JobRequest
from cableway.running.payloads import PAYLOAD_LIMIT, Payload, payload_of
from cableway.running.stopping import Signals, Stop
from cableway.running.tally import RowCounts, rows_in
from cableway.running.threads import called, in_thread, run_to_end
from cableway.store.port import RunResult, RunState

Capture = pytest.CaptureFixture[str]

# --- the last line


@pytest.mark.parametrize("text", ["x" * 10_000, "\u00e9" * 10_000, "\U0001f6a1" * 10_000, "\x00" * 10_000])
def test_the_last_line_is_short_whatever_the_error_says(text: str) -> None:
    error = DefinitionError(text, [Fault("/stages", "invalid", text)] * 50)
    result = RunResult(state=RunState.FAILED, exit_code=78, counts={"emitted": 2**60}, problem=error.problem())
    line = report.final_line("r" * 9_000, 1, result)
    assert len(line.encode()) < report.FINAL_LINE_LIMIT
    assert json.loads(line)["error"]["detail"]
    assert line.isascii()


def test_a_short_error_stands_whole_on_the_last_line() -> None:
    error = DefinitionError("two faults", [Fault("/a", "invalid", "one"), Fault("/b", "invalid", "two")])
    result = RunResult(state=RunState.FAILED, exit_code=78, counts={}, problem=error.problem())
    last = json.loads(report.final_line("r", 2, result))
    assert last["error"] == error.problem()
    assert (last["reason"], last["attempt"], last["exit_code"]) == ("invalid", 2, 78)


def test_the_last_line_is_left_where_kubernetes_looks_for_it(tmp_path: Path, capsys: Capture) -> None:
    log = tmp_path / "termination-log"
    report.say("first", str(log))
    assert not log.exists(), "it is never created"
    log.write_text("something longer than the message")
    report.say("second", str(log))
    assert log.read_text() == "second"
    assert capsys.readouterr().out == "first\nsecond\n"


def test_nobody_has_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    report.say("x")
    report.complain("x")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("secret 1"), "ValueError (its dead letter has the message)"),
        (KeyError("wind"), "KeyError: 'wind'"),
        (ItemError("handler", "'wind'", error_type="KeyError"), "KeyError: 'wind'"),
        (ItemError("handler", "secret", error_type="ValueError"), "ValueError (its dead letter has the message)"),
        (ItemError("timeout", "took longer than 2 s"), "took longer than 2 s"),
        (RowError("is no number", where="t", row=3, column="c"), "t, row 3, column 'c': is no number"),
        (ModuleNotFoundError("No module named 'x'\nand more"), "ModuleNotFoundError: No module named 'x' and more"),
    ],
)
def test_an_items_failure_is_told_without_its_data(error: Exception, words: str) -> None:
    assert report.words_of(error) == words


def test_a_full_disk_is_a_lack_of_resources() -> None:
    lack = report.lack_of(OSError(28, "No space left on device", "/data/x"))
    assert isinstance(lack, ResourceError)
    assert str(lack) == "No space left on device: /data/x"
    assert lack.exit_code == 74
    assert report.lack_of(OSError(2, "No such file")) is None


# --- letters


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        ({"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        ({"a": float("nan")}, {"a": "nan"}),
        ({"a": "half \ud800 and \x00"}, {"a": "half ? and \ufffd"}),
        ({1: {2}}, {"1": [2]}),
        ("x" * (PAYLOAD_LIMIT + 1), None),
        ([0] * 20_000, None),
    ],
)
def test_a_payload_is_json_that_can_be_stored(data: Any, payload: Any) -> None:
    found = payload_of(data)
    assert (None if found.text is None else json.loads(found.text)) == payload
    assert found.size_bytes > 0


def test_a_payload_that_cannot_even_be_looked_at_is_left_out() -> None:
    class Hostile(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

        def values(self) -> Any:
            raise RuntimeError

    assert payload_of(Hostile(a=1)) == Payload(text=None, size_bytes=0)


def test_tables_are_payloads_row_by_row() -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    for table in (pa.Table.from_pylist(rows), pd.DataFrame(rows)):
        text = payload_of({"t": table}).text
        assert text is not None
        assert json.loads(text) == {"t": rows}
    assert payload_of({"t": pa.table({"a": range(1_000_000)})}).text is None


def test_a_box_keeps_so_many_letters_and_counts_the_rest() -> None:
    box = DeadLetterBox()
    for number in range(KEPT_AT_MOST + 3):
        box.item_failed(WorkItem(number), "s", "b", ValueError("x"), 1, 0)
    assert box.left_out == 3
    assert box.crowded.is_set()
    taken = box.take()
    assert len(taken) == KEPT_AT_MOST
    assert not box.crowded.is_set()
    box.put_back(taken[:2])
    assert len(box.take()) == 2


def test_letters_that_weigh_too_much_are_kept_without_their_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.letters.KEPT_BYTES", 100)
    box = DeadLetterBox()
    for _ in range(3):
        box.item_failed(WorkItem("x" * 40), "s", "b", ValueError("x"), 1, 0)
    assert [letter.payload is None for letter in box.take()] == [False, False, True]


# --- references


def definition(config: dict[str, Any]) -> PipelineDefinition:
    blocs = (BlocDefinition(name="a", bloc_type="t", config=config), BlocDefinition(name="b", bloc_type="t"))
    return PipelineDefinition(name="p", stages=(StageDefinition(name="s", blocs=blocs),))


def test_a_reference_takes_the_parameters_type_and_inside_a_text_its_form() -> None:
    config = {
        "n": "${param:n}",
        "path": "data/${param:day}-${param:n}-${param:on}-${param:none}.csv",
        "deep": [{"x": "${param:list}"}],
        "plain": "${day} $param {n}",
    }
    values = {"n": 5, "day": "mon", "on": True, "list": [1], "none": None}
    resolved, names = with_references(definition(config), values, {})
    assert names == {"a"}
    assert resolved.stages[0].blocs[0].config == {
        "n": 5,
        "path": "data/mon-5-true-.csv",
        "deep": [{"x": [1]}],
        "plain": "${day} $param {n}",
    }


def test_a_parameters_value_is_never_looked_at_again() -> None:
    resolved, _ = with_references(definition({"x": "${param:a}"}), {"a": "${param:b}", "b": "secret"}, {})
    assert resolved.stages[0].blocs[0].config == {"x": "${param:b}"}


def test_a_reference_to_a_parameter_that_is_not_there_names_its_place() -> None:
    with pytest.raises(DefinitionError) as caught:
        with_references(definition({"x": {"y": ["${param:nope}"]}}), {"a": 1}, {})
    assert caught.value.faults[0].pointer == "/stages/0/blocs/0/config/x/y/0"
    assert "the pipeline has: a" in str(caught.value)


def test_a_definition_without_references_stays_the_same_object() -> None:
    given = definition({"x": 1})
    assert with_references(given, {"a": 1}, {}) == (given, frozenset())


# --- counting and joining


def test_rows_are_counted_by_what_they_are() -> None:
    assert [rows_in(value) for value in (None, [1, 2], {"a": 1}, "text", 7, (1,), b"x", object())] == [
        0, 2, 1, 1, 1, 1, 1, 1,
    ]  # fmt: skip
    counts = RowCounts()
    counts.wrote("e", 5)
    counts.wrote("e", None)
    counts.made("t", 5)
    assert counts.by_bloc == {"e": 5, "t": 1}


def test_many_threads_count_together() -> None:
    counts = RowCounts()

    def write() -> None:
        for _ in range(2_000):
            counts.wrote("e", 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.by_bloc == {"e": 8_000}


def test_members_are_joined_by_bloc() -> None:
    side = [{"w": 1}]
    members = [{"n": 1, "side": side}, {"n": 1, "side": side, "late": "x"}]
    assert joined_members(members, {"side"}) == {"n": [1, 1], "side": side, "late": ["x"]}
    assert joined([4]) == [4]


def test_tables_are_joined_end_to_end() -> None:
    pa = pytest.importorskip("pyarrow")
    one, two = pa.table({"a": [1]}), pa.table({"a": [2], "b": ["x"]})
    assert joined([one, two]).to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    assert joined([[{"a": 1}], [{"a": 2}]]).to_pylist() == [{"a": 1}, {"a": 2}]
    assert joined([one, one]) is one


# --- stopping and threads


def test_the_first_reason_to_stop_stands_unless_the_lease_is_lost() -> None:
    stop, told = Stop(), list[str]()
    stop.ask(RunCancelledError("first"))
    stop.ask(InterruptedRunError("second"))
    stop.listen(lambda: told.append(str(stop.reason)))
    assert told == ["first"]
    stop.ask(LeaseLostError("third"))
    stop.ask(LeaseLostError("fourth"))
    assert (told, stop.lost) == (["first", "third"], True)
    stop.close()


async def test_what_a_thread_raises_arrives_and_an_exit_is_a_failure() -> None:
    with pytest.raises(KeyError):
        await in_thread(dict[str, int]().__getitem__, "a")
    with pytest.raises(Exception, match="SystemExit was raised by a bloc"):
        await called(sys.exit)
    assert await called(lambda: 3) == 3


async def test_a_call_that_hangs_can_be_left_behind() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(release.wait, 20)
    release.set()


def _say_nothing(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that is destroyed while it waits is what the test is about."""


def test_a_task_that_swallows_its_cancellation_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.threads.LEFTOVERS_S", 0.05)
    swallowed: list[int] = []

    async def stubborn() -> None:
        while len(swallowed) < 2:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                swallowed.append(1)

    async def work() -> str:
        asyncio.get_running_loop().set_exception_handler(_say_nothing)
        left = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        del left
        return "done"

    assert run_to_end(work()) == "done"
    assert swallowed == [1]


# --- the command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which run? Give a run id, or 'run NAME'"),
        (["--nope"], "unknown argument '--nope'"),
        (["id", "more"], "unknown argument 'more'"),
        (["run"], "run takes either the name of a pipeline or --file"),
        (["run", "a", "--file", "b"], "run takes either the name of a pipeline or --file"),
        (["run", "a", "b"], "unknown argument 'b'"),
        (["run", "a", "-p"], "-p takes a value"),
        (["run", "a", "-p", "novalue"], "-p takes KEY=VALUE"),
        (["run", "a", "-p", "=x"], "-p takes KEY=VALUE"),
        (["run", "a", "--key", "1", "--key", "2"], "--key is given twice"),
        (["run", "a", "--unknown=1"], "unknown argument '--unknown=1'"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_what_is_wrong(words: list[str], message: str, capsys: Capture) -> None:
    assert __main__.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"cableway: {message}\nusage: python -m cableway")
    assert captured.out == ""


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"]])
def test_help_is_no_error(words: list[str], capsys: Capture) -> None:
    assert __main__.main(words) == 0
    assert capsys.readouterr().out.startswith("usage: python -m cableway [--partial-ok] RUN_ID")


def test_the_version_is_the_packages(capsys: Capture) -> None:
    from importlib.metadata import version

    assert __main__.main(["--version"]) == 0
    assert capsys.readouterr().out == f"cableway {version('cableway')}\n"


def test_a_command_line_becomes_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[JobRequest] = []

    def run_job(request: JobRequest, *, signals: Signals | None) -> int:
        asked.append(request)
        return 0

    monkeypatch.setattr("cableway.job.run_job", run_job)
    assert __main__.main(["run", "flights", "-p", "day=a=b", "--param=n=1", "--key=k"]) == 0
    assert __main__.main(["run", "--file=p.yaml"]) == 0
    assert __main__.main(["--partial-ok", "0198"]) == 0
    named, file, by_id = asked
    assert [request.partial_ok for request in asked] == [False, False, True]
    assert (named.pipeline, named.key, named.parameters) == ("flights", "k", {"day": "a=b", "n": "1"})
    assert (file.file, file.pipeline, by_id.run_id) == ("p.yaml", None, "0198")
