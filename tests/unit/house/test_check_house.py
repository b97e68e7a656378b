from __future__ import annotations

from pathlib import Path

import pytest

from scripts import check_house

KEPT_WITHOUT_TEST = "docs/promises.md:1: P3 is kept, but no test is marked promise('P3')"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree that is against no rule."""
    for folder in ("engine/cableway/blocs", "engine/cableway/store", "handlers", "tests", "docs", "requirements"):
        (tmp_path / folder).mkdir(parents=True)
    rows = [f"| {promise} | Something holds. | open |" for promise in check_house.PROMISES]
    (tmp_path / "docs/promises.md").write_text("\n".join(rows))
    (tmp_path / "requirements/run.txt").write_text("httpx==1.0 \\\n    --hash=sha256:00\n    # via -r run.in\n")
    return tmp_path


def faults_of(house: Path, source: str, name: str = "engine/cableway/module.py") -> list[str]:
    (house / name).write_text(source)
    return list(check_house.faults(house))


def test_a_good_tree_has_no_faults(house: Path) -> None:
    assert faults_of(house, '"""SELECT in prose is prose."""\nimport os\nprint(os.getpid())\n') == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import os\nx = os.environ['A']\n", ":2: the environment is read in settings.py alone"),
        ("from os import environ\n", ":1: the environment is read in settings.py alone"),
        ("def f(c):\n    c.execute('SELECT 1')\n", ":2: SQL outside store/queries/"),
        ("Q = f'INSERT INTO {1} VALUES (1)'\n", ":1: SQL outside store/queries/"),
        ("import os\nos.fork()\n", ":2: os.fork"),
        ("import m\nm.get_context('fork')\n", ":2: start method fork"),
        ("import f\nf.ProcessPoolExecutor(2)\n", ":2: ProcessPoolExecutor without mp_context forks on older Pythons"),
        ("def f():\n" + "    x = 1\n" * 50, ":1: f has 51 lines; 50 is the most"),
        ("x = 1\n" * 401, ":1: 401 lines; split it, or let its docstring say why it is over 400 lines"),
    ],
)
def test_each_rule_names_the_place(house: Path, source: str, fault: str) -> None:
    assert faults_of(house, source) == [f"engine/cableway/module.py{fault}"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("engine/cableway/settings.py", "import os\nx = os.environ['A']\n"),
        ("engine/cableway/store/executor.py", "Q = 'SELECT 1'\n"),
        ("engine/cableway/blocs/into_postgres.py", "from psycopg import sql\nQ = sql.SQL('SELECT 1')\n"),
        ("engine/cableway/long.py", '"""A table, over 400 lines because it is one."""\n' + "x = 1\n" * 401),
        ("engine/cableway/short.py", "def f():\n    '''" + "words\n" * 60 + "'''\n"),
        ("engine/cableway/pool.py", "def f(p, c):\n    p.ProcessPoolExecutor(2, mp_context=c)\n"),
    ],
)
def test_the_exceptions_hold_where_they_should(house: Path, name: str, source: str) -> None:
    assert faults_of(house, source, name) == []


def test_blocs_may_not_put_values_into_sql(house: Path) -> None:
    source = "from psycopg import sql\nQ = sql.SQL(f'SELECT {1}')\n"
    assert len(faults_of(house, source, "engine/cableway/blocs/into_postgres.py")) == 1


def test_names_that_say_nothing_are_refused(house: Path) -> None:
    assert len(faults_of(house, "", "handlers/utils.py")) == 1


def test_a_kept_promise_needs_a_test(house: Path) -> None:
    page = house / "docs/promises.md"
    page.write_text(page.read_text().replace("| P3 | Something holds. | open |", "| P3 | Something holds. | kept |"))
    assert list(check_house.faults(house)) == [KEPT_WITHOUT_TEST]
    mark = "@pytest.mark." + "promise('P3')"
    (house / "tests/test_it.py").write_text(f"{mark}\ndef test_it(): ...\n")
    assert list(check_house.faults(house)) == []


def test_a_missing_promise_is_seen(house: Path) -> None:
    page = house / "docs/promises.md"
    page.write_text(page.read_text().replace("| P26 | Something holds. | open |", ""))
    assert [fault for fault in check_house.faults(house) if "must list P1 to P26" in fault]


@pytest.mark.parametrize(
    "line", ["--index-url https://example.org/simple", "x @ file:///x.whl", "# via -r /tmp/run.in"]
)
def test_pins_name_no_address(house: Path, line: str) -> None:
    (house / "requirements/run.txt").write_text(line + "\n")
    assert len(list(check_house.faults(house))) == 1
