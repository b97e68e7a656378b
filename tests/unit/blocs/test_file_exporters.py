"""Files that exporters write: whole or not at all, and never where they must not."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.csv_files.exporter import CsvExporterBloc, CsvExporterConfig
from cableway.blocs.file_exporter import FileExporter
from cableway.blocs.jsonl_exporter import JsonlExporterBloc, JsonlExporterConfig
from cableway.blocs.kinds import Ending, Resources
from cableway.blocs.parquet_exporter import ParquetExporterBloc, ParquetExporterConfig
from cableway.blocs.tables import library
from cableway.context import RunContext, RunFacts
from cableway.errors import ResourceError, SinkError
from tests import need

pa, pq = library("pyarrow"), library("pyarrow.parquet")
KINDS: Any = {
    "csv": (CsvExporterBloc, CsvExporterConfig),
    "jsonl": (JsonlExporterBloc, JsonlExporterConfig),
    "parquet": (ParquetExporterBloc, ParquetExporterConfig),
}


def opened(kind: str, path: str, *, root: Path | None = None, token: int = 1, **config: Any) -> FileExporter:
    bloc_type, make = KINDS[kind]
    bloc: FileExporter = bloc_type("store", make(file_path=path, **config))
    bloc.bind(Resources(root=None if root is None else str(root)))
    bloc.open(context(None, token=token))
    return bloc


def context(value: Any, item: str = "0:0:0", token: int = 1) -> RunContext:
    facts = RunFacts(run_id="run-1", pipeline="p", line="line-1", lease_token=token, output_dir=None)
    return RunContext(facts, bloc="store", item_id=item, data={"source": value}, inputs=("source",))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_the_items_of_a_run_are_one_file(tmp_path: Path) -> None:
    for kind in KINDS:
        bloc = opened(kind, f"deep/er/all.{kind}", root=tmp_path)
        assert bloc.export(context([{"n": 1, "t": "a"}, {"n": 2, "t": None}], "0")) == 2
        assert bloc.export(context([{"t": "", "n": 3}], "1")) == 1
        assert bloc.export(context(None, "2")) == 0
        assert not (tmp_path / f"deep/er/all.{kind}").exists()
        bloc.close(Ending.SUCCEEDED)
        assert bloc.outputs() == {"file": f"deep/er/all.{kind}"}
    assert names(tmp_path) == ["deep/er/all.csv", "deep/er/all.jsonl", "deep/er/all.parquet"]
    assert (tmp_path / "deep/er/all.csv").read_text() == '"n","t"\n1,"a"\n2,\n3,""\n'
    assert read(tmp_path / "deep/er/all.parquet") == [{"n": 1, "t": "a"}, {"n": 2, "t": None}, {"n": 3, "t": ""}]


@pytest.mark.parametrize("kind", KINDS)
def test_items_may_have_files_of_their_own(tmp_path: Path, kind: str) -> None:
    bloc = opened(kind, "{run_id}/part {item}.x", root=tmp_path)
    for item in ("0:5:90", "*:10", "a/../b.1", "0:5:90"):
        bloc.export(context([{"n": 1}], item))
    bloc.close(Ending.FAILED)
    assert names(tmp_path) == ["run-1/part 0-5-90.x", "run-1/part a%2F..%2Fb.1.x", "run-1/part start-10.x"]
    assert bloc.sole_target(bloc.config) is None


@pytest.mark.promise("P21")
@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.INTERRUPTED])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_failed_leaves_the_old_file_and_no_other(tmp_path: Path, kind: str, ending: Ending) -> None:
    (tmp_path / "x").write_text("old")
    bloc = opened(kind, "x", root=tmp_path)
    bloc.export(context([{"n": 1}]))
    bloc.close(ending)
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_attempt_left_is_cleared_up(tmp_path: Path, kind: str) -> None:
    (tmp_path / ".cableway-other.tmp").touch()
    killed = opened(kind, "x", root=tmp_path)
    killed.export(context([{"n": 1}]))
    assert len(names(tmp_path)) == 2
    later = opened(kind, "x", root=tmp_path, token=2)
    later.export(context([{"n": 2}], token=2))
    with pytest.raises(SinkError, match="x: cannot be written: No such file"):
        killed.close(Ending.SUCCEEDED)
    later.close(Ending.SUCCEEDED)
    assert names(tmp_path) == [".cableway-other.tmp", "x"]


def test_a_file_that_is_there_may_be_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(SinkError, match="x: exists, and if_exists is 'fail'"):
        opened("csv", "x", root=tmp_path, if_exists="fail")
    late = opened("csv", "y", root=tmp_path, if_exists="fail")
    late.export(context([{"n": 1}]))
    (tmp_path / "y").write_text("quicker")
    with pytest.raises(SinkError, match="y: exists"):
        late.close(Ending.SUCCEEDED)
    assert names(tmp_path) == ["x", "y"]
    assert (tmp_path / "y").read_text() == "quicker"


@pytest.mark.fault("F9")
def test_no_path_leads_out_of_the_root_or_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("old")
    (root / "link").symlink_to(outside / "victim")
    (root / "dangling").symlink_to(outside / "new")
    (root / "folder").symlink_to(outside)
    (root / "inside").symlink_to(root)
    (root / "is_folder").mkdir()
    os.mkfifo(root / "pipe")
    for path, words in {
        "../outside/victim": "leads out of the job's folder",
        str(outside / "victim"): "lies outside of",
        "folder/victim": "lies outside of",
        "link": "a link stands there",
        "dangling": "a link stands there",
        "is_folder": "a folder stands there",
        "pipe": "no regular file stands there",
        "/proc/self/environ": "a place of the system's",
        "a\x00b": "NUL byte",
        "x/": "names a folder",
        "x" * 256: "more than 255 bytes",
    }.items():
        with pytest.raises(SinkError, match=words):
            opened("csv", path, root=root)
    bloc = opened("csv", "inside/new.csv", root=root)
    bloc.close(Ending.SUCCEEDED)
    assert names(outside) == ["victim"]
    assert (outside / "victim").read_text() == "old"
    assert (root / "new.csv").exists()


def test_configs_that_cannot_work_are_refused() -> None:
    def faults(**config: Any) -> list[str]:
        return [name for name, _ in CsvExporterBloc.faults(CsvExporterConfig(**config))]

    assert faults(file_path="../x") == ["file_path"]
    assert faults(file_path="x/") == ["file_path"]
    assert faults(file_path="x", delimiter=";;") == ["delimiter"]
    assert faults(file_path="{output_dir}/a/{item}.csv") == []
    with pytest.raises(SinkError, match="no output_dir; set PIPELINES_LOGS_DIR"):
        opened("csv", "{output_dir}/x")


def test_parquet_has_dictionaries_where_values_come_again(tmp_path: Path) -> None:
    again = pa.array(["x", None] * 50)
    table = pa.table(
        {
            "again": again,
            "word": again.dictionary_encode(),
            "ever new": pa.array([str(number) for number in range(100)]),
            "nothing": pa.nulls(100),
        }
    )
    nested = table.append_column("nested", pa.array([[1]] * 100))
    for name, rows in (("flat", table), ("nested", nested)):
        bloc = opened("parquet", name, root=tmp_path)
        bloc.export(context(rows))
        bloc.close(Ending.SUCCEEDED)
        assert read(tmp_path / name) == rows.to_pylist()
    assert [with_dictionaries(tmp_path / name) for name in ("flat", "nested")] == [
        {"again", "word"},
        {"again", "word", "ever new", "nothing", "nested.list.element"},
    ]


def with_dictionaries(path: Path) -> set[str]:
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_item_that_does_not_fit_the_file_fails_alone(tmp_path: Path, kind: str) -> None:
    bloc = opened(kind, "x", root=tmp_path)
    bloc.export(context([{"n": 1}]))
    with pytest.raises(SinkError, match="these differ in: 'm'"):
        bloc.export(context([{"n": 1, "m": 1}]))
    with pytest.raises(SinkError, match=r"'n' \(int64 before, string now\)"):
        bloc.export(context([{"n": "s3cret"}]))
    bloc.export(context([{"n": 2}]))
    bloc.close(Ending.COMPLETED_WITH_ERRORS)
    rows = (tmp_path / "x").read_text().split() if kind == "csv" else [str(row["n"]) for row in read(tmp_path / "x")]
    assert rows[-2:] == ["1", "2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_items_leaves_an_empty_file(tmp_path: Path, kind: str) -> None:
    bloc = opened(kind, "x", root=tmp_path)
    bloc.close(Ending.SUCCEEDED)
    assert read(tmp_path / "x") == [] if kind == "parquet" else (tmp_path / "x").read_text() == ""


def test_csv_is_compressed_by_its_name_or_by_wish(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "a.csv.gz": {},
        "b.csv.zst": {},
        "c": {"compression": "gzip"},
        "d.gz": {"compression": "none"},
    }
    for path, config in cases.items():
        bloc = opened("csv", path, root=tmp_path, delimiter=";", header=False, **config)
        bloc.export(context([{"n": 1, "t": "x"}]))
        bloc.export(context([{"n": 2, "t": "y"}]))
        bloc.close(Ending.SUCCEEDED)
    text = b'1;"x"\n2;"y"\n'
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == text
    assert pa.input_stream(tmp_path / "b.csv.zst", compression="zstd").read() == text
    assert gzip.decompress((tmp_path / "c").read_bytes()) == text
    assert (tmp_path / "d.gz").read_bytes() == text


def test_every_type_has_a_form_in_csv(tmp_path: Path) -> None:
    some = uuid.uuid4()
    table = pa.table(
        {
            "list": pa.array([[1, None]]),
            "struct": pa.array([{"a": "é"}]),
            "bytes": pa.array([b"\x00\xff"]),
            "uuid": pa.array([some.bytes], pa.uuid()),
            "json": pa.array(['{"a": 1}'], pa.json_()),
            "exact": pa.array([Decimal("1.50")]),
            "kind": pa.array(["x"]).dictionary_encode(),
            "yes": pa.array([True]),
            "at": pa.array([0], pa.timestamp("us", "UTC")),
        }
    )
    bloc = opened("csv", "x", root=tmp_path, header=False)
    bloc.export(context(table))
    bloc.close(Ending.SUCCEEDED)
    assert (tmp_path / "x").read_text() == (
        f'"[1, null]","{{""a"": ""é""}}","\\x00ff","{some}","{{""a"": 1}}",1.50,"x",true,1970-01-01 00:00:00.000000Z\n'
    )


def test_small_items_share_a_row_group(tmp_path: Path) -> None:
    bloc = opened("parquet", "x", root=tmp_path, row_group_rows=10, compression="zstd")
    for number in range(25):
        bloc.export(context([{"n": number}], str(number)))
    bloc.close(Ending.SUCCEEDED)
    file = pq.ParquetFile(tmp_path / "x")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [10, 10, 5]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    need.root()
    mount = need.tool("mount")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.promise("P21")
@pytest.mark.fault("F9")
@pytest.mark.parametrize("path", ["x", "{item}"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said_and_leaves_no_half_file(tiny_disk: Path, kind: str, path: str) -> None:
    (tiny_disk / "x").write_text("old")
    bloc = opened(kind, path, root=tiny_disk, **({"row_group_rows": 1} if kind == "parquet" else {}))
    noise = os.urandom(3_000_000).hex()

    def write() -> None:
        for number in range(3):
            bloc.export(context([{"t": noise[number:]}], "x"))
        bloc.close(Ending.SUCCEEDED)

    with pytest.raises(ResourceError, match="No space left"):
        write()
    with pytest.raises(ResourceError, match="No space left"):
        write()
    bloc.close(Ending.FAILED)
    assert names(tiny_disk) == ["x"]
    assert (tiny_disk / "x").read_text() == "old"


def test_lines_of_json_hold_every_type_and_columns_may_come_and_go(tmp_path: Path) -> None:
    bloc = opened("jsonl", "x.jsonl.gz", root=tmp_path)
    day = date(2026, 1, 31)
    rows = [{"d": day, "t": datetime(2026, 1, 31, 10, tzinfo=UTC), "m": Decimal("1.50"), "b": b"x", "l": [1, None]}]
    bloc.export(context(pa.Table.from_pylist(rows)))
    bloc.export(context([{"other": "ünï"}, {"other": None}]))
    with pytest.raises(SinkError, match="a value cannot be said in JSON: column 'n'"):
        bloc.export(context([{"n": 1.0}, {"n": float("inf")}]))
    bloc.close(Ending.COMPLETED_WITH_ERRORS)
    assert [json.loads(line) for line in gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).splitlines()] == [
        {"d": "2026-01-31", "t": "2026-01-31T10:00:00+00:00", "m": "1.50", "b": "eA==", "l": [1, None]},
        {"other": "ünï"},
        {"other": None},
    ]
