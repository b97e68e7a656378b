from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cableway import logs
from cableway.logs import AreaFiles, JsonLines, OneLine, area_of, escaped, set_up_logging
from cableway.redaction import guard
from cableway.settings import read_settings

SECRET = "logged-canary-91"
guard([SECRET])


def record(message: str, *args: object, name: str = "cableway.job", **more: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(more)
    return made


def failed(message: str) -> logging.LogRecord:
    try:
        raise ValueError(message)
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
        return made


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have named theirs."""
    monkeypatch.setattr(logs, "_ids", {})


@pytest.fixture
def known_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_ids", {"run_id": "r1", "trace_id": "t1", "span_id": "s1"})


@contextmanager
def bare() -> Generator[logging.Logger]:
    """The root logger as it is in a process that has just begun; pytest puts its own handlers there."""
    root = logging.getLogger()
    before, level, made = root.handlers[:], root.level, logging.getLoggerClass()
    root.handlers[:] = []
    told: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_plan", None)
        patch.setattr(threading, "excepthook", threading.excepthook)
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        patch.setattr(logs, "_said", told)
        try:
            yield root
        finally:
            for handler in root.handlers:
                handler.close()
            root.handlers[:] = before
            root.setLevel(level)
            logging.setLoggerClass(made)
            logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("known_run")
def test_a_line_says_when_what_where_and_which_run() -> None:
    line = OneLine().format(record("read %d rows", 5))
    assert line.endswith(" WARNING cableway.job: read 5 rows run_id=r1 trace_id=t1")
    assert OneLine().format(record("x", run_id="other")).endswith("run_id=other trace_id=t1")


FORGED = 'a\nb\r{"level": "INFO"}\x1b[31m\x00\x85\u2028\u202e\ud800'


@pytest.mark.parametrize("make", [OneLine, JsonLines])
def test_what_would_break_a_line_up_or_paint_it_is_escaped(make: Callable[[], logging.Formatter]) -> None:
    line = make().format(record("id %s", FORGED, name=f"x\n{FORGED}"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    line.encode()
    assert escaped("plain é 漢") == "plain é 漢"


def test_a_stack_is_indented_so_that_nothing_in_it_looks_like_a_line() -> None:
    lines = OneLine().format(failed("x\n2026-01-01 00:00:00,000 ERROR forged: line")).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("    ") for line in lines[1:])


@pytest.mark.usefixtures("known_run")
def test_a_json_line_is_one_object_with_ids_and_stack() -> None:
    line = json.loads(JsonLines().format(failed("no luck")))
    assert line["stack"].splitlines()[-1] == "ValueError: no luck"
    assert {key: line[key] for key in ("level", "logger", "message", "run_id", "trace_id", "span_id")} == {
        "level": "WARNING",
        "logger": "cableway.job",
        "message": "it failed",
        "run_id": "r1",
        "trace_id": "t1",
        "span_id": "s1",
    }
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("make", [OneLine, JsonLines])
def test_no_line_holds_a_secret(make: Callable[[], logging.Formatter]) -> None:
    for each in (record("a %r", [SECRET]), failed(SECRET), record("x", stack_info=f"at {SECRET}")):
        assert SECRET not in make().format(each)
        assert "***" in make().format(each)


def test_each_area_has_a_file_and_one_has_all(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "logs"
    levels = "cableway.scheduler:DEBUG,cableway.api:ERROR"
    with bare():
        set_up_logging(read_settings({"LOG_DIR": str(folder), "LOG_LEVELS": levels}))
        logging.getLogger("cableway.scheduler").debug("a tick")
        logging.getLogger("cableway.scheduler.manager").info("below it")
        logging.getLogger("cableway.api").warning("too quiet")
        logging.getLogger("cableway.api").error("refused")
        logging.getLogger("somebody.else").warning("else")
        logging.getLogger("cableway.scheduler").setLevel(logging.NOTSET)
        logging.getLogger("cableway.api").setLevel(logging.NOTSET)
    found = {path.name: [line.split(": ", 1)[1] for line in path.read_text().splitlines()] for path in folder.iterdir()}
    assert found == {
        "api.log": ["refused"],
        "cableway.log": ["a tick", "below it", "refused", "else"],
        "scheduler.log": ["a tick", "below it"],
    }


@pytest.mark.parametrize(
    ("logger", "area"),
    [
        ("cableway.job", "job"),
        ("cableway.blocs.a.b", "blocs"),
        ("cableway", None),
        ("x.job", None),
        ("cableway.../x", None),
    ],
)
def test_an_area_is_a_word_that_we_know(logger: str, area: str | None) -> None:
    assert area_of(logger) == area


def test_whoever_has_set_up_logging_keeps_it(tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    assert before
    set_up_logging(read_settings({"LOG_DIR": str(tmp_path)}))
    assert logging.getLogger().handlers == before
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_once_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cableway.log").symlink_to("/dev/full")
    files = AreaFiles(str(tmp_path))
    for _ in range(3):
        files.handle(record("lost"))
    assert capsys.readouterr().err.count("No space left on device") == 1
    (tmp_path / "cableway.log").unlink()
    files.handle(record("there is room again"))
    assert "there is room again" in (tmp_path / "cableway.log").read_text()
    files.close()


def test_a_folder_that_cannot_be_made_is_said_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with bare():
        set_up_logging(read_settings({"LOG_DIR": str(tmp_path / "file" / "logs")}))
        logging.getLogger("cableway.job").warning("still here")
    said = capsys.readouterr().err
    assert "there are no log files" in said
    assert "still here" in said


def test_a_handler_that_raises_is_not_heard_of(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError(SECRET)

    with bare() as root:
        set_up_logging(read_settings({}))
        root.addHandler(Broken())
        logging.getLogger("cableway.job").warning("goes on")
        logging.getLogger("cableway.blocs.new one").warning("goes on")
        logging.getLogger("cableway.job").warning("%d", SECRET)
    said = capsys.readouterr().err
    assert said.count("a log handler failed: ZeroDivisionError") == 1
    assert said.count("goes on") == 2
    assert SECRET not in said


def test_a_stderr_that_nobody_reads_is_not_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with bare(), suppress(BrokenPipeError), os.fdopen(writing, "w", buffering=1) as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        set_up_logging(read_settings({}))
        logging.getLogger("cableway.job").warning("nobody reads")
        monkeypatch.setattr(sys, "stderr", None)
        logging.getLogger("cableway.job").warning("still nobody")
        monkeypatch.undo()
