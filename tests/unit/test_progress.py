"""How far a run is: rates, the line, the table, and that a terminal is left as it was found."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from rich.console import Console

from cableway.flow.config import ETLPipelineConfig, StageConfig
from cableway.flow.statistics import StageStatistics
from cableway.progress import Pace, Progress, StageProgress, line
from cableway.terminal import drawn
from cableway.testing import FakeClock

ROOT = Path(__file__).parents[2]


def statistics(
    name: str = "fetch", *, queued: int, waiting: int = 0, in_work: int = 0, failed: int = 0
) -> StageStatistics:
    return StageStatistics(
        name=name,
        queued=queued,
        waiting=waiting,
        in_work=in_work,
        done=queued - waiting - in_work - failed,
        emitted=0,
        failed=failed,
        skipped=0,
        cancelled=0,
        merged=0,
        retried=0,
        abandoned=0,
        wait_s=0.0,
        work_s=0.0,
        blocked_s=0.0,
    )


class Fake:
    """A pipeline whose statistics a test decides."""

    def __init__(self, *stages: str) -> None:
        self.config = ETLPipelineConfig(
            pipeline_name="flights", stages=[StageConfig(name=name, queue_size=100) for name in stages]
        )
        self.now: tuple[StageStatistics, ...] = ()
        self.looks = 0

    def stage_statistics(self) -> tuple[StageStatistics, ...]:
        self.looks += 1
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_rate_is_what_came_to_be_in_the_last_seconds() -> None:
    pace = Pace([100])
    assert pace.look([statistics(queued=10, waiting=10)], 0.0)[0].rate_per_s == 0
    assert pace.look([statistics(queued=30, waiting=10)], 2.0)[0].rate_per_s == 10
    later = [pace.look([statistics(queued=20, waiting=0)], float(second)) for second in range(3, 60)]
    assert later[-1][0].rate_per_s == 0, "an old burst is forgotten"


def test_the_line_says_all_of_each_stage() -> None:
    stages = Pace([100, 50]).look(
        [statistics(queued=1400, waiting=90, in_work=10, failed=3), statistics("store", queued=2, in_work=2)], 0.0
    )
    assert line(stages) == (
        "fetch 1,297 done, 10 in flight, 90 waiting, 3 failed, 0/s; store 0 done, 2 in flight, 0 waiting, 0/s"
    )


def test_the_table_says_the_same() -> None:
    console = Console(file=io.StringIO(), width=100)
    stage = StageProgress(name="fetch", done=1297, in_flight=10, waiting=90, failed=3, queue_size=100, rate_per_s=412.4)
    with console.capture() as shown:
        console.print(drawn("flights", [stage], 75.2))
    text = shown.get()
    assert "flights  01:15" in text
    for word in ("fetch", "90 waiting", "10 in flight", "1,297 done", "412/s", "3 failed"):
        assert word in text


def lines_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cableway.progress"]


async def shown_for(pipeline: Fake, seconds: float, interval_s: float, file: io.StringIO) -> None:
    with Progress(pipeline, interval_s=interval_s, file=file):
        pipeline.now = (statistics(queued=50, waiting=20),)
        await asyncio.sleep(seconds)


def test_a_log_gets_a_line_each_interval_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cableway.progress")
    FakeClock().run(shown_for(pipeline := Fake("fetch"), 35.0, 10.0, io.StringIO()))
    assert len(lines_logged(caplog)) == 4
    assert lines_logged(caplog)[0].startswith("flights: fetch 30 done, 0 in flight, 20 waiting, 3.0/s")
    assert pipeline.looks == 4, "it looks no more often than it speaks"


def test_a_short_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cableway.progress")
    FakeClock().run(shown_for(Fake("fetch"), 9.0, 10.0, io.StringIO()))
    assert lines_logged(caplog) == []


def test_an_interval_of_0_is_silent_on_a_terminal_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cableway.progress")
    pipeline, terminal = Fake("fetch"), Terminal()
    FakeClock().run(shown_for(pipeline, 100.0, 0.0, terminal))
    assert (pipeline.looks, terminal.getvalue(), lines_logged(caplog)) == (0, "", [])


def test_before_the_run_has_begun_there_is_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cableway.progress")

    async def idle() -> None:
        with Progress(Fake("fetch"), interval_s=1, file=io.StringIO()):
            await asyncio.sleep(5)

    FakeClock().run(idle())
    assert lines_logged(caplog) == []


def test_rich_is_not_loaded_where_there_is_no_terminal() -> None:
    script = (
        "import asyncio, sys\n"
        "from cableway import ETLPipeline, ETLPipelineConfig, StageConfig\n"
        "from cableway.progress import Progress\n"
        "async def main():\n"
        "    pipeline = ETLPipeline(ETLPipelineConfig(stages=[StageConfig(name='a')]), range(3))\n"
        "    async def keep(item): return item\n"
        "    pipeline.register_stage_handler('a', keep)\n"
        "    with Progress(pipeline, interval_s=0.01):\n"
        "        await pipeline.run()\n"
        "asyncio.run(main())\n"
        "sys.exit('rich' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, stderr=subprocess.DEVNULL).returncode == 0


PROGRAM = """
import asyncio, logging, sys
from cableway import ETLPipeline, ETLPipelineConfig, StageConfig
from cableway.progress import Progress

async def main(ending):
    logging.basicConfig(level=logging.WARNING, format="LOG %(message)s")
    wait = asyncio.Event()
    async def work(item):
        if item.data == 4:
            logging.warning("halfway")
            print("printed", flush=True)
            await asyncio.sleep(0.6)
            print("ready", flush=True)
            if ending == "hang":
                await wait.wait()
        return item
    config = ETLPipelineConfig(
        pipeline_name="flights", stages=[StageConfig(name="fetch", workers=1)], stats_interval_seconds=0
    )
    pipeline = ETLPipeline(config, range(8))
    pipeline.register_stage_handler("fetch", work)
    with Progress(pipeline):
        await pipeline.run()
        if ending == "raise":
            raise RuntimeError("on purpose")
    print("after", flush=True)

asyncio.run(main(sys.argv[1]))
"""
MOVES_UP = "\x1b[1A"
HIDES_CURSOR = "\x1b[?25l"


def on_a_terminal(*arguments: str, stop: signal.Signals | None = None) -> tuple[str, int]:
    """Run Python on a pseudo-terminal; what it wrote there, and how it ended. It gets *stop* once it is ready."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen(
        [sys.executable, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT
    )
    os.close(theirs)
    written, deadline = b"", monotonic() + 30
    try:
        while monotonic() < deadline and select.select([ours], [], [], 30)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            written += piece
            if stop is not None and b"ready" in written:
                child.send_signal(stop)
                stop = None
        return written.decode(), child.wait(10)
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def plain(written: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)


def test_a_terminal_gets_a_table_below_what_is_printed() -> None:
    written, code = on_a_terminal("-c", PROGRAM, "end")
    assert code == 0
    assert MOVES_UP in written
    text = plain(written)
    assert "LOG halfway" in text
    assert "printed" in text
    last = text[text.rindex("flights") :]
    assert "8 done" in last
    assert "0 in flight" in last
    assert last.rstrip().endswith("after"), "what comes afterwards stands below the table"


@pytest.mark.parametrize(
    ("ending", "stop"),
    [("raise", None), ("hang", signal.SIGINT), ("hang", signal.SIGTERM), ("hang", signal.SIGKILL)],
    ids=["exception", "interrupted", "terminated", "killed"],
)
def test_no_ending_leaves_the_terminal_changed(ending: str, stop: signal.Signals | None) -> None:
    written, code = on_a_terminal("-c", PROGRAM, ending, stop=stop)
    assert code != 0
    assert "flights" in written
    assert HIDES_CURSOR not in written
    assert "\x1b[?1049h" not in written, "no other screen"


JOB = """
import sys
from cableway.job import JobRequest, run_job
code = run_job(JobRequest(file=sys.argv[1]), {})
sys.exit(code or 10 * ("rich" in sys.modules))
"""


def test_a_job_without_a_terminal_loads_no_rich(tmp_path: Path) -> None:
    pipeline = tmp_path / "nothing.json"
    pipeline.write_text('{"name": "nothing", "stages": [[{"name": "pass", "bloc_type": "pass_through"}]]}')
    done = subprocess.run([sys.executable, "-c", JOB, pipeline], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_job_on_a_terminal_shows_the_table_above_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n" + "1\n" * 30)
    pipeline = tmp_path / "slow.json"
    loader = {"name": "rows", "bloc_type": "csv_loader", "config": {"file_path": "ROWS", "batch_size": 1}}
    hold = {"name": "hold", "rate_per_s": 50, "blocs": [{"name": "held", "bloc_type": "pass_through"}]}
    document = {"name": "slow", "stages": [[loader], hold]}
    pipeline.write_text(json.dumps(document).replace("ROWS", str(tmp_path / "rows.csv")))
    written, code = on_a_terminal("-m", "cableway", "run", "--file", str(pipeline))
    assert code == 0, written
    assert MOVES_UP in written
    table, _, last = plain(written).rpartition("\n{")
    assert "30 done" in table[table.rindex("hold") :]
    assert json.loads("{" + last)["state"] == "succeeded"
