from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.blocs.csv_files.records import Marks, record_ends
from cableway.blocs.kinds import Ending, Resources
from cableway.blocs.tables import library
from cableway.errors import SourceChangedError, SourceError
from tests.unit.blocs.loading import csv_loader, items, load, whole

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: str | bytes) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def test_types_are_found_out(write: Write) -> None:
    table = load(csv_loader(write("i,f,s,b,d,t,n\n1,1.5,x,true,2024-01-02,2024-01-02T03:04:05Z,NA\n,NA,,false,,,\n")))
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds == {
        "i": "int64",
        "f": "double",
        "s": "string",
        "b": "bool",
        "d": "date32[day]",
        "t": "timestamp[s, tz=UTC]",
        "n": "string",
    }
    assert table.to_pydict()["i"] == [1, None]


def test_types_can_be_said(write: Write) -> None:
    path = write("zip,n\n01234,1\n")
    assert whole(path, types={"zip": "string", "n": "number"}) == {"zip": ["01234"], "n": [1.0]}
    with pytest.raises(SourceError, match="'types' names zap; the columns are: zip, n"):
        whole(path, types={"zap": "string"})


def test_batches_hold_what_the_whole_holds(write: Write) -> None:
    path = write('a,b\n1,"x\ny"\n2,"q""r"\n3,z\n')
    found = items(csv_loader(path, batch_size=2))
    assert [position for position, _ in found] == ["0:0:4", "0:2:21"]
    assert found[0][1] == {"a": [1, 2], "b": ["x\ny", 'q"r']}
    assert found[1][1] == {"a": [3], "b": ["z"]}


def test_types_hold_for_all_batches(write: Write) -> None:
    found = items(csv_loader(write("a\n1\n2\n2.5\n"), batch_size=1))
    assert found[0][1] == {"a": [1.0]}


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=6)


RECORDS = given(
    rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12), size=st.integers(1, 5), every=st.booleans()
)


@settings(max_examples=50, deadline=None)
@RECORDS
def test_records_are_never_cut(tmp_path_factory: Any, rows: list[tuple[str, str]], size: int, every: bool) -> None:
    read_whole_from_anywhere(tmp_path_factory.mktemp("csv") / "data.csv", rows, size, every=every)


@pytest.mark.chaos
@settings(max_examples=1000, deadline=None)
@RECORDS
def test_a_thousand_files_are_never_cut(
    tmp_path_factory: Any, rows: list[tuple[str, str]], size: int, every: bool
) -> None:
    read_whole_from_anywhere(tmp_path_factory.mktemp("csv") / "data.csv", rows, size, every=every)


def read_whole_from_anywhere(path: Path, rows: list[tuple[str, str]], size: int, *, every: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL)
    writer.writerows([("k", "a", "b"), *(("k", *row) for row in rows)])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    bloc = csv_loader(path, batch_size=size, types={"a": "string", "b": "string"}, null_values=["<missing>"])
    found = items(bloc)
    read = [row for _, table in found for row in zip(table["a"], table["b"], strict=True)]
    assert read == rows
    for number, (position, _) in enumerate(found):
        bloc.resume(position, bloc.fingerprint(position))
        assert items(bloc) == found[number:]


def test_quotes_inside_unquoted_fields_are_text(write: Write) -> None:
    found = items(csv_loader(write('a,b\n5" disk,x\n7" disk,"y\nz"\n1,2\n'), batch_size=1))
    assert [table["a"] + table["b"] for _, table in found] == [['5" disk', "x"], ['7" disk', "y\nz"], ["1", "2"]]


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"a\nb\n", [1, 3]),
        (b'"a\nb"\nc\n', [5, 7]),
        (b'a"b\n"c\nd"\n', [3, 9]),
        (b'"a""\n"\nb"c\n', [6, 10]),
        (b'x,"a\n', []),
    ],
)
def test_where_records_end(data: bytes, ends: list[int]) -> None:
    assert list(record_ends(data, Marks(b","))) == ends


def test_other_systems_files(write: Write) -> None:
    assert whole(write(b"\xef\xbb\xbfa;b\r\n1;x\r\n\r\n2;y"), delimiter=";") == {"a": [1, 2], "b": ["x", "y"]}
    path = write("a,b\n1,\xe9t\xe9\n".encode("latin-1"))
    assert whole(path, encoding="latin-1") == {"a": [1], "b": ["\xe9t\xe9"]}
    assert items(csv_loader(path, encoding="latin-1", batch_size=1)) == [("0:0:4", {"a": [1], "b": ["\xe9t\xe9"]})]


def test_a_header_alone_has_no_rows(write: Write) -> None:
    assert whole(write("a,b\n")) == {"a": [], "b": []}
    assert items(csv_loader(write("a,b"), batch_size=5)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: not even a header"),
        ("a,a\n1,2\n", "names a column twice: a"),
        ("a,b\n1,2\n3\n", "row 2: 1 fields where the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "row 2: 3 fields where the header has 2"),
        ('a,b\n1,2\n3,"x\n', "row 2: a quoted field is not closed"),
        (b"a,b\n1,\xff\xfe\n", "column 'b': is not UTF-8"),
    ],
)
def test_what_is_no_csv_says_where(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        items(csv_loader(write(content), batch_size=10))
    assert message in str(caught.value)
    assert str(caught.value).count("data.csv: ") == 1


def test_a_value_of_another_type_is_placed_and_not_shown(write: Write) -> None:
    many = "".join(f"{number},aaaaaaaaaaaaaaaaaaaa\n" for number in range(250_000))
    with pytest.raises(SourceError) as caught:
        items(csv_loader(write(f"n,s\n{many}s3cret,b\n"), batch_size=50_000))
    assert "row 250001, column 'n': a value is no int64" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file .*gone\.csv: looked for .*; check file_path"):
        whole(tmp_path / "gone.csv")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is no regular file"),
        ("/dev/zero", "is a place of the system's"),
        ("/proc/self/environ", "is a place of the system's"),
        ("a\x00b", "NUL byte"),
    ):
        with pytest.raises(SourceError, match=message):
            whole(path)


def test_files_stay_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "out.csv").write_text("a\n1\n")
    (root / "in.csv").write_text("a\n1\n")
    (root / "link.csv").symlink_to(tmp_path / "out.csv")
    for path, allowed in (("in.csv", True), ("../out.csv", False), ("link.csv", False), (str(tmp_path), False)):
        bloc = csv_loader(path)
        bloc.bind(Resources(root=str(root)))
        if allowed:
            assert load(bloc).num_rows == 1
        else:
            with pytest.raises(SourceError, match=r"lies outside of|leads out of"):
                load(bloc)


def test_a_changed_file_cannot_be_taken_up_again(write: Write) -> None:
    path = write("a\n1\n2\n3\n")
    bloc = csv_loader(path, batch_size=1)
    positions = [position for position, _ in load(bloc)]
    before = bloc.fingerprint(positions[2])
    bloc.close(Ending.INTERRUPTED)
    path.write_text("a\n1\n9\n3\n")
    with pytest.raises(SourceChangedError, match="has changed since it was read") as caught:
        bloc.resume(positions[2], before)
    assert caught.value.code == "source_changed"
    assert caught.value.exit_code == 3


def test_a_file_that_grows_while_it_is_read_is_refused(write: Write) -> None:
    path = write("a\n1\n2\n3\n")
    loaded = load(csv_loader(path, batch_size=1))
    next(loaded)
    with path.open("a") as file:
        file.write("4\n")
    with pytest.raises(SourceChangedError, match="has changed since it was read"):
        next(loaded)


def test_a_longer_file_takes_no_more_memory(write: Write) -> None:
    pa = library("pyarrow")
    row = f"{'x' * 98},\n"
    path = write("a,b\n" + row * 300_000)
    most = 0
    for _, table in load(csv_loader(path, batch_size=1000)):
        most = max(most, pa.total_allocated_bytes())
        assert table.num_rows == 1000
    assert most < 4_000_000
