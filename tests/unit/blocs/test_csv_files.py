from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.csv_files.loader import CsvLoaderBloc, CsvLoaderConfig
from cableway.blocs.kinds import Ending, Resources
from cableway.blocs.tables import library
from cableway.errors import BadRowError, SourceChangedError, SourceError
from tests.unit.blocs.contexts import context_of
from tests.unit.blocs.loading import Items, csv_loader, items, load, whole


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of one kind: plain, gzip, and two in a zip."""
    written(tmp_path / "a.csv", "n,s\n1,x\n2,y\n")
    written(tmp_path / "b.csv", gzip.compress(b"n,s\n3,z\n"))
    with zipfile.ZipFile(tmp_path / "c.csv", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("two.csv", "s,n\nw,5\n")
        archive.writestr("one.csv", "n,s\n4,v\n")
    return tmp_path


def test_a_pattern_reads_its_files_in_order_packed_or_not(folder: Path) -> None:
    assert whole(folder / "*.csv") == {"n": [1, 2, 3, 4, 5], "s": ["x", "y", "z", "v", "w"]}
    found = items(csv_loader(folder / "*.csv", batch_size=10))
    assert [position for position, _ in found] == ["0:0:4", "1:0:4", "2:0:4", "3:0:4"]
    assert [table["n"] for _, table in found] == [[1, 2], [3], [4], [5]]
    assert all(list(table) == ["n", "s"] for _, table in found)


def test_two_stars_look_into_folders(tmp_path: Path) -> None:
    written(tmp_path / "b" / "c" / "1.csv", "n\n2\n")
    written(tmp_path / "a.csv", "n\n1\n")
    assert whole(tmp_path / "**" / "*.csv") == {"n": [1, 2]}
    with pytest.raises(SourceError, match="no file matches"):
        whole(tmp_path / "*.tsv")
    assert whole(written(tmp_path / "[x].csv", "n\n7\n")) == {"n": [7]}


def test_every_position_can_be_taken_up_again_in_every_part(folder: Path) -> None:
    first = csv_loader(folder / "*.csv", batch_size=1)
    found = items(first)
    plan = first.plan(context_of(first), {})
    for number, (position, _) in enumerate(found):
        again = csv_loader(folder / "*.csv", batch_size=1)
        again.open(context_of(again))
        again.follow(plan, {})
        again.resume(position, first.fingerprint(position))
        assert items_left(again) == found[number:]


def items_left(bloc: CsvLoaderBloc) -> Items:
    return [(position, value.to_pydict()) for position, value in bloc.load(context_of(bloc))]


def test_what_arrives_later_belongs_to_the_next_run(folder: Path) -> None:
    first = csv_loader(folder / "*.csv", batch_size=10)
    first.open(context_of(first))
    plan = first.plan(context_of(first), {})
    written(folder / "aa.csv", "n,s\n9,9\n")
    again = csv_loader(folder / "*.csv", batch_size=10)
    again.open(context_of(again))
    again.follow(plan, {})
    assert len(items_left(again)) == 4
    assert len(items(csv_loader(folder / "*.csv", batch_size=10))) == 5


def test_another_file_of_that_name_fails_naming_both(folder: Path) -> None:
    first = csv_loader(folder / "*.csv", batch_size=1)
    first.open(context_of(first))
    plan = first.plan(context_of(first), {})
    before = first.fingerprint("0:1:8")
    state = (folder / "a.csv").stat()
    written(folder / "a.csv", "n,s\n7,x\n2,y\n")
    again = csv_loader(folder / "*.csv", batch_size=1)
    again.open(context_of(again))
    with pytest.raises(SourceChangedError, match=r"a\.csv has changed since it was read: then 12 bytes .* now 12"):
        again.follow(plan, {})
    os.utime(folder / "a.csv", ns=(state.st_atime_ns, state.st_mtime_ns))
    again.follow(plan, {})
    with pytest.raises(SourceChangedError, match=r"digest .*, now .* digest"):
        again.resume("0:1:8", before)
    again.close(Ending.FAILED)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.csv", gzip.compress(b"a\n" + os.urandom(50_000).hex().encode())[:-2000], "cannot be read to its end"),
        ("cut.zip", b"PK\x03\x04 and no more", "no whole zip archive"),
        ("wide.csv", "a,b\n1,2\n", "columns differ from the first file's: b"),
    ],
)
def test_a_file_among_others_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    written(tmp_path / "0.csv", "a\n1\n")
    written(tmp_path / name, content)
    with pytest.raises(SourceError, match=message) as caught:
        items(csv_loader(tmp_path / "*", batch_size=5))
    assert name in str(caught.value)


def test_forms_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    written(path, "made today\n\nid;'a;b'\n1;'x''y'\n")
    assert whole(path, delimiter=";", quote="'", skip_rows=2) == {"id": [1], "a;b": ["x'y"]}
    written(path, 'a,b\n"x\\"\ny",1\nx\\,y,2\n')
    assert whole(path, escape="\\") == {"a": ['x"\ny', "x,y"], "b": [1, 2]}
    assert [v["b"] for _, v in items(csv_loader(path, escape="\\", batch_size=1))] == [[1], [2]]
    written(path, 'a,b\n"x,1\ny",2\n')
    assert whole(path, quote="") == {"a": ['"x', 'y"'], "b": [1, 2]}
    written(path, "1,x\n2,y\n")
    assert whole(path, header=False) == {"column_1": [1, 2], "column_2": ["x", "y"]}
    assert whole(path, header=False, column_names=["n", "s"], columns=["s"]) == {"s": ["x", "y"]}
    assert items(csv_loader(path, header=False, batch_size=1))[1] == ("0:1:4", {"column_1": [2], "column_2": ["y"]})
    with pytest.raises(SourceError, match="'column_names' has 1 names, and the first line 2"):
        whole(path, header=False, column_names=["n"])


def test_types_that_are_said(tmp_path: Path) -> None:
    pa = library("pyarrow")
    path = written(tmp_path / "data.csv", "d;t;n;f;i;b\n31/12/2024;01/02/2024;1,50;2,5;007;1\n")
    table = load(
        csv_loader(
            path,
            delimiter=";",
            types={"d": "date", "n": "decimal(10,2)", "f": "float64", "i": "string", "b": "bool"},
            date_formats=["%d/%m/%Y"],
            decimal_point=",",
        )
    )
    kinds = [pa.date32(), pa.timestamp("s"), pa.decimal128(10, 2), pa.float64(), pa.string(), pa.bool_()]
    assert table.schema.types == kinds
    assert str(table.to_pydict()["n"][0]) == "1.50"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "data.csv", "a,b\n1,\xe9t\xe9\n2,x\n".encode(encoding))
    bloc = csv_loader(path, encoding=encoding, batch_size=1)
    found = items(bloc)
    assert [table["b"] for _, table in found] == [["\xe9t\xe9"], ["x"]]
    bloc.resume(found[1][0], bloc.fingerprint(found[1][0]))
    assert items(bloc) == found[1:]


BAD = "n,s\n1,a\ns3cret,b\n3\n4,d,x\n5,e\n6,\x00\n"


@pytest.mark.fault("F10")
def test_bad_rows_by_policy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "data.csv", BAD)
    said: dict[str, Any] = {"batch_size": 100, "types": {"n": "int64"}}
    with pytest.raises(SourceError, match="row 2, column 'n': a value is no int64") as caught:
        items(csv_loader(path, **said))
    assert "s3cret" not in str(caught.value)
    assert items(csv_loader(path, on_bad_row="skip", **said)) == [("0:0:4", {"n": [1, 5], "s": ["a", "e"]})]
    assert "4 rows could not be read and were left out" in caplog.text
    found = items(csv_loader(path, on_bad_row="dead_letter", **said))
    assert [position for position, _ in found] == ["0:0:4", "0:0:4:1", "0:0:4:2", "0:0:4:3", "0:0:4:5"]
    errors = [value.error for _, value in found[1:]]
    assert all(isinstance(error, BadRowError) for error in errors)
    assert [(error.row, error.column) for error in errors] == [(2, "n"), (3, None), (4, None), (6, None)]
    assert not any("s3cret" in str(error) for error in errors)
    assert found[1][1].row == {"row": "s3cret,b"}
    assert whole(path, on_bad_row="skip", types={"n": "int64"}) == {"n": [1, 5], "s": ["a", "e"]}


@pytest.mark.fault("F10")
def test_a_row_left_out_can_be_taken_up_again(tmp_path: Path) -> None:
    path = written(tmp_path / "data.csv", BAD + "7,f\n8,g\n")
    bloc = csv_loader(path, batch_size=3, types={"n": "int64"}, on_bad_row="dead_letter")
    names = [position for position, _ in items(bloc)]
    for number, position in enumerate(names):
        bloc.resume(position, bloc.fingerprint(position))
        assert [name for name, _ in items(bloc)] == names[number:]


@pytest.mark.fault("F10")
def test_what_spreadsheets_and_old_systems_leave(tmp_path: Path) -> None:
    path = written(tmp_path / "data.csv", b"\xef\xbb\xbfa,b\r\n=1+2,@x\n\r\n-3,\"=cmd|' /C calc'!A0\"\r\n")
    assert whole(path) == {"a": ["=1+2", "-3"], "b": ["@x", "=cmd|' /C calc'!A0"]}
    with pytest.raises(SourceError, match="a return alone"):
        whole(written(path, "a,b\r1,2\r3,4\r"))
    with pytest.raises(SourceError, match="is it UTF-16"):
        whole(written(path, "a,b\n1,2\n".encode("utf-16-le")))


@pytest.mark.fault("F10")
def test_a_field_without_end_and_very_many_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.blocs.csv_files.records.MAX_RECORD_BYTES", 1 << 20)
    monkeypatch.setattr("cableway.blocs.csv_files.records.BLOCK_BYTES", 1 << 16)
    path = tmp_path / "data.csv"
    with path.open("wb") as file:
        file.write(b'a,b\n1,2\n3,"')
        file.truncate(1 << 30)
    with pytest.raises(SourceError, match=r"is longer than .* is a quote left open"):
        items(csv_loader(path, batch_size=10, on_bad_row="skip"))
    names = [f"c{number}" for number in range(5_000)]
    written(path, f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
    assert len(load(csv_loader(path)).column_names) == 5_000


def test_large_rows_make_smaller_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.blocs.csv_files.records.MAX_PIECE_BYTES", 1000)
    path = written(tmp_path / "data.csv", "a\n" + f"{'x' * 399}\n" * 7)
    bloc = csv_loader(path, batch_size=100)
    found = items(bloc)
    assert [len(table["a"]) for _, table in found] == [2, 2, 2, 1]
    bloc.resume(found[2][0], bloc.fingerprint(found[2][0]))
    assert items(bloc) == found[2:]


@pytest.mark.fault("F8")
@pytest.mark.promise("P26")
def test_only_files_of_data_below_the_root_are_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    written(tmp_path / "secret.csv", "a\ns3cret\n")
    written(root / "in" / "ok.csv", "a\n1\n")
    (root / "out.csv").symlink_to(tmp_path / "secret.csv")
    (root / "there").symlink_to(tmp_path)
    (root / "here").symlink_to(root / "in")
    os.mkfifo(root / "pipe.csv")
    with (root / "sparse.csv").open("wb") as file:
        file.truncate(1 << 32)
    bad = [
        "../secret.csv", "../../etc/passwd", "/proc/self/environ", "/dev/zero", "//dev/zero", "out.csv", "pipe.csv",
        "there/secret.csv", "in", "sparse.csv", "a\x00b", str(tmp_path / "secret.csv"), "gone.csv", "there/*.csv",
        "../*.csv", "/etc/*", "in/../../secret.csv", "/proc/*/environ",
    ]  # fmt: skip
    for path in bad:
        for options in ({}, {"batch_size": 10}):
            bloc = csv_loader(path, **options)
            bloc.bind(Resources(root=str(root)))
            with pytest.raises(SourceError) as caught:
                list(load(bloc))
            assert "s3cret" not in str(caught.value), path
            bloc.close(Ending.FAILED)
    for path in ("in/ok.csv", "here/ok.csv", "i*/*.csv"):
        bloc = csv_loader(path)
        bloc.bind(Resources(root=str(root)))
        assert load(bloc).to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"file_path": "../x.csv"}, "file_path"),
        ({"quote": "''"}, "quote"),
        ({"escape": ","}, "escape"),
        ({"escape": '"'}, "escape"),
        ({"types": {"a/b": "float"}}, "types/a~1b"),
        ({"types": {"a": "decimal(2,3)"}}, "types/a"),
        ({"encoding": "rot13"}, "encoding"),
        ({"column_names": ["a", "a"]}, "column_names"),
        ({"on_bad_row": "dead_letter"}, "on_bad_row"),
        ({"header": False, "columns": ["a"]}, "columns"),
    ],
)
def test_what_a_config_cannot_mean(config: dict[str, Any], field: str) -> None:
    whole_config: dict[str, Any] = {"file_path": "x.csv", **config}
    made = CsvLoaderConfig(**whole_config)
    assert [name for name, _ in CsvLoaderBloc.faults(made)] == [field]
