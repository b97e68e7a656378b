"""
What cron costs: ten thousand schedulers that are due in the same minute, a hundred thousand that are not, and
the next fires of ten thousand rules beside a search that looks at every minute.

Scheduler processes are real ones, on a Postgres of their own; only what they would launch is left out, for that is the
launcher's matter. The process that idles is ``cableway scheduler`` itself. The last line is one JSON object.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from psycopg.rows import dict_row

from benchmarks import _verdict
from benchmarks.peers.minute_search import next_run
from cableway.definitions.timetable import timetable
from cableway.embedded import embedded_postgres
from cableway.errors import DefinitionError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.connect import Connection
from cableway_handlers.cron.loop import TickLoop

RULES, SEARCHED = 10_000, 150
DUE, IDLE = 10_000, 100_000
PROCESSES = (2, 8)
IDLE_S = 20.0
START = datetime(2026, 3, 1, 0, 7, 3, tzinfo=UTC)

TARGETS = {"next fires vs a search by minutes": 100.0, "decided_s": 5.0, "idle_share_of_a_core": 0.01}

SCHEDULERS = b"""
WITH pipelines AS (
    INSERT INTO cableway.pipelines (name, active_version)
    SELECT 'pipeline ' || n, 1 FROM generate_series(%(low)s::int, %(high)s::int) AS n
), versions AS (
    INSERT INTO cableway.pipeline_versions (pipeline, version, document, document_format, content_hash)
    SELECT 'pipeline ' || n, 1, '{"parameters": {}, "settings": {"lease_ttl_s": 60}}', 2, n::text
    FROM generate_series(%(low)s::int, %(high)s::int) AS n
), triggers AS (
    INSERT INTO cableway.triggers (name, pipeline, kind, expression, config)
    SELECT 'trigger ' || n, 'pipeline ' || n, 'cron', %(rule)s, '{}'
    FROM generate_series(%(low)s::int, %(high)s::int) AS n
)
INSERT INTO cableway.schedulers (name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup,
                                 catchup_window_s, max_catchup_runs, jitter_s, paused, pause_note, next_at)
SELECT 'scheduler ' || n, 'pipeline ' || n, 'trigger ' || n, '{}', 'Europe/Paris', 'run', 'latest',
       3600, 10, 0, false, '', now() + interval '1 day'
FROM generate_series(%(low)s::int, %(high)s::int) AS n
"""


def main() -> None:
    ratio = fires()
    decided: dict[str, float] = {}
    doubled = 0
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder, postgres(Path(folder)) as url:
        settings = DatabaseSettings(url=url)
        with DatabaseStorage(settings) as storage:
            refused = refuses_what_never_comes(storage)
        with Connection.connect(url, autocommit=True, row_factory=dict_row) as connection:
            add(connection, 1, DUE)
            for processes in PROCESSES:
                seconds, twice = decide(connection, url, processes)
                decided[f"{processes} processes"] = seconds
                doubled += twice
                print(f"{DUE:,} schedulers due at once, {processes} processes: {seconds:.2f} s, {twice} doubled")
            add(connection, DUE + 1, IDLE)
            share = idle(url, Path(folder))
    print(f"{IDLE:,} schedulers, none due: {share:.3%} of a core")
    figures = {
        "next fires vs a search by minutes": round(ratio, 1),
        "decided_s": {name: round(seconds, 2) for name, seconds in decided.items()},
        "doubled": doubled,
        "idle_share_of_a_core": round(share, 5),
        "refuses what never comes": refused,
    }
    met = (
        ratio >= TARGETS["next fires vs a search by minutes"]
        and max(decided.values()) < TARGETS["decided_s"]
        and share < TARGETS["idle_share_of_a_core"]
        and not doubled
        and refused
    )
    _verdict.say("ticks", figures, {**TARGETS, "doubled": 0, "refuses what never comes": True}, met=met)


@contextmanager
def postgres(folder: Path) -> Generator[str]:
    folder.chmod(0o755)  # as root the server runs as another user
    with embedded_postgres(folder / "postgres") as url:
        yield url


def fires() -> float:
    """How many times as fast the next fire of a rule is found."""
    rules = distinct_rules()
    before = time.process_time()
    for rule in rules:
        timetable(rule, "UTC").after(START)
    ours = (time.process_time() - before) / len(rules)
    searched = random.Random(7).sample(rules, SEARCHED)
    before = time.process_time()
    for rule in searched:
        next_run(rule, START)
    theirs = (time.process_time() - before) / len(searched)
    print(f"next fire: {ours * 1e6:.0f} us a rule, {theirs * 1e6:.0f} us by minutes")
    return theirs / ours


def distinct_rules() -> list[str]:
    """Rules of many kinds; none that the search by minutes would look for over years."""
    rng = random.Random(20260301)
    rules: dict[str, None] = {}
    while len(rules) < RULES:
        minutes = (
            "*",
            f"{rng.randrange(60)}",
            f"*/{rng.randrange(2, 30)}",
            f"{rng.randrange(30)}-{rng.randrange(30, 60)}",
        )
        hours = (
            "*",
            f"{rng.randrange(24)}",
            f"*/{rng.randrange(2, 12)}",
            f"{rng.randrange(12)},{rng.randrange(12, 24)}",
        )
        days = ("* * *", f"* * {rng.randrange(7)}", f"{rng.randrange(1, 29)} * *", f"* {rng.randrange(1, 13)} *")
        # As people have them: mostly daily, some weekly and monthly, few of one month of the year.
        day = rng.choices(days, (50, 25, 20, 5))[0]
        rules[f"{rng.choice(minutes)} {rng.choice(hours)} {day}"] = None
    return list(rules)


def refuses_what_never_comes(storage: DatabaseStorage) -> bool:
    try:
        storage.create_trigger("never", "nothing", "0 0 30 2 *")
    except DefinitionError:
        return True
    return False


def add(connection: Connection, low: int, high: int) -> None:
    connection.execute(SCHEDULERS, {"low": low, "high": high, "rule": "0 0 1 1 *"})
    connection.execute("VACUUM ANALYZE")


def decide(connection: Connection, url: str, processes: int) -> tuple[float, int]:
    """Seconds until all that are due are decided, and how many were twice."""
    connection.execute("DELETE FROM cableway.ticks")
    connection.execute("DELETE FROM cableway.runs")
    with ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(scheduler_process(url))
        wait_out_the_minute()
        rule = f"{datetime.now(UTC).minute} * * * *"
        connection.execute("UPDATE cableway.triggers SET expression = %s", (rule,))
        before = time.monotonic()
        connection.execute(
            "UPDATE cableway.schedulers SET next_at = now(), decided_to = date_trunc('minute', now()) - interval '1 s'"
        )
        connection.execute("SELECT pg_notify('cableway', 'cableway')")
        while count(connection, "SELECT count(*) AS n FROM cableway.ticks") < DUE:
            time.sleep(0.02)
        seconds = time.monotonic() - before
    runs = count(connection, "SELECT count(*) AS n FROM cableway.runs")
    ticks = count(connection, "SELECT count(DISTINCT (scheduler_name, scheduled_at)) AS n FROM cableway.runs")
    if ticks != DUE:
        sys.exit(f"{ticks} ticks have a run, and {DUE} were due")
    return seconds, runs - ticks


def wait_out_the_minute() -> None:
    """So that the minute that is due does not end before it is made due."""
    if (second := datetime.now(UTC).second) > 50:
        time.sleep(61 - second)


def count(connection: Connection, question: str) -> int:
    row = connection.execute(question.encode()).fetchone()
    return 0 if row is None else int(row["n"])


@contextmanager
def scheduler_process(url: str) -> Generator[None]:
    command = [sys.executable, "-m", "benchmarks.ticks", "loop", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            first_line(process.stdout)
            yield
        finally:
            process.terminate()


def loop(url: str) -> None:
    """A scheduler that decides and launches nothing, until it is terminated."""
    made = TickLoop(DatabaseSettings(url=url), on_fired=lambda: None)
    made.start()
    while not made.is_up:
        time.sleep(0.02)
    print("up", flush=True)
    sys.stdin.read()


def idle(url: str, folder: Path) -> float:
    """What share of a core ``cableway scheduler`` takes while nothing is due."""
    with Connection.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("UPDATE cableway.schedulers SET next_at = now() + interval '1 day'")
        connection.execute("DELETE FROM cableway.runs")
        connection.execute("VACUUM ANALYZE")
    command = "import sys; from cableway_handlers.cli import main; sys.exit(main())"
    environment = {**os.environ, "DATABASE_URL": url}
    with subprocess.Popen(
        [sys.executable, "-c", command, "scheduler"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            first_line(process.stderr)
            time.sleep(3)  # its beginning is none of its idling
            before = cpu_s(process.pid)
            time.sleep(IDLE_S)
            return (cpu_s(process.pid) - before) / IDLE_S
        finally:
            process.terminate()


def first_line(output: IO[str] | None) -> None:
    """Return when the process has said that it is up."""
    if output is None or not output.readline():
        sys.exit("a scheduler did not begin")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    if sys.argv[1:2] == ["loop"]:
        loop(sys.argv[2])
    else:
        main()
