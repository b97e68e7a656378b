"""The bloc ``sql``: queries over an item's tables, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.sql import SqlBloc, SqlConfig
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.errors import RunFailedError
from tests.unit.blocs.contexts import context_of

ROWS = [{"k": "a", "v": 1}, {"k": "a", "v": 2}, {"k": "b", "v": 5}]


def asked(query: str, data: dict[str, Any] | None = None, **config: Any) -> Any:
    bloc = SqlBloc("question", SqlConfig(query=query, **config))
    return bloc.transform(context_of(bloc, data or {"source": ROWS}))


def test_a_query_gives_a_table() -> None:
    assert asked("SELECT k, sum(v)::BIGINT AS v FROM input GROUP BY k ORDER BY k").to_pylist() == [
        {"k": "a", "v": 3},
        {"k": "b", "v": 5},
    ]
    assert asked("SELECT count(*) AS n FROM source").to_pylist() == [{"n": 3}]


def test_several_inputs_are_joined_by_their_names() -> None:
    names = [{"k": "a", "name": "Anna"}]
    assert asked(
        "SELECT name, v FROM rows JOIN names USING (k) ORDER BY v", {"rows": ROWS, "names": names}
    ).to_pylist() == [
        {"name": "Anna", "v": 1},
        {"name": "Anna", "v": 2},
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT 1; SELECT 2", "must be one statement; it has 2"),
        ("DROP TABLE x", "must be a SELECT, and is DROP"),
        ("COPY (SELECT 1) TO '/tmp/x'", "must be a SELECT, and is COPY"),
        ("SELEKT 1", "Parser Error"),
    ],
)
def test_only_a_single_select_is_saved(query: str, reason: str) -> None:
    (fault,) = Catalog().normalise("sql", {"query": query})[1]
    assert (fault.pointer, reason in fault.message) == ("/query", True), fault.message


@pytest.mark.promise("P26")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
    ],
)
def test_no_file_and_no_network_is_reached(query: str, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a\ncanary\n")
    with pytest.raises(RunFailedError) as caught:
        asked(query.format(file=file))
    assert "canary" not in str(caught.value)


def test_a_name_of_python_is_no_table() -> None:
    frame = library("pyarrow").Table.from_pylist(ROWS)  # what a replacement scan would find
    with pytest.raises(RunFailedError, match=r"question.*frame does not exist"):
        asked("SELECT * FROM frame")
    assert frame.num_rows == 3


def test_what_fails_on_a_value_does_not_tell_it() -> None:
    with pytest.raises(RunFailedError, match=r"the query failed \(ConversionException\)$"):
        asked("SELECT v::INTEGER FROM input", {"source": [{"v": "secret"}]})


def test_a_query_over_its_memory_fails_alone() -> None:
    with pytest.raises(RunFailedError, match="OutOfMemory"):
        asked("SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) FROM range(3000000) t(i))", memory_limit="20MB")
