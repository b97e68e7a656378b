"""What a failed item held comes back in its types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import SourceError
from cableway.redaction import guard
from cableway.running.payload_folder import PayloadFolder
from cableway.running.payloads import payload_of, restored
from cableway.store.port import DeadLetter

BLOCS = {"a", "b", "rows"}


def _through(data: Any) -> Any:
    payload = payload_of(data, BLOCS)
    assert payload.text is not None
    frames = None if payload.frames is None else json.loads(json.dumps(payload.frames))
    return restored(json.loads(payload.text), frames)


def _columns() -> Iterator[tuple[str, Any]]:
    pa = pytest.importorskip("pyarrow")
    yield "date", pa.array([date(2020, 2, 29), None])
    yield "decimal", pa.array([Decimal("1.10"), Decimal("-7.00")])
    yield "instant", pa.array([datetime(2020, 1, 1, 3, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin"))
    yield "nanoseconds", pa.array([1, None], pa.timestamp("ns"))
    yield "local", pa.array([1_577_847_845_000_006, None], pa.timestamp("us"))
    yield "time", pa.array([time(1, 2, 3), None])
    yield "duration", pa.array([timedelta(days=1, microseconds=3), None])
    yield "bytes", pa.array([b"\x00\xff", b""])
    yield "float", pa.array([float("inf"), 0.1])
    yield "large", pa.array([2**63 - 1, None])
    yield "list", pa.array([[date(2020, 1, 1), None], None])
    yield "struct", pa.array([{"x": Decimal("1.5")}, {"x": None}])
    yield "map", pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64()))
    yield "dictionary", pa.array(["u", "v"]).dictionary_encode()
    yield "nothing", pa.nulls(2)


def test_tables_come_back_in_their_types() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(dict(_columns()))
    found = _through({"a": table, "b": "text"})
    assert found["b"] == "text"
    assert found["a"].schema == table.schema
    for name in table.column_names:
        assert found["a"][name].to_pylist() == table[name].to_pylist(), name


def test_frames_and_lists_of_records_come_back_as_what_they_were() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"n": [1, 2], "at": pd.to_datetime(["2020-01-01", None])})
    found = _through({"a": frame})["a"]
    pd.testing.assert_frame_equal(found, frame)
    records = [{"on": date(2020, 1, 1), "n": 1}, {"on": None, "n": 2}]
    assert _through({"a": records}) == {"a": records}
    assert payload_of({"a": [{"n": 1}]}, BLOCS).frames is None


def test_members_of_a_batch_come_back_one_by_one() -> None:
    pa = pytest.importorskip("pyarrow")
    tables = [pa.table({"on": [date(2020, 1, day)]}) for day in (1, 2)]
    found = _through([{"a": tables[0]}, {"a": tables[1], "b": 1}])
    assert [member["a"] for member in found] == tables
    assert found[1]["b"] == 1


@pytest.mark.parametrize("row", [{"id": 1, "on": date(2020, 1, 1)}, {"id": 1}])
def test_a_refused_row_comes_back_as_a_table_of_one(row: dict[str, Any]) -> None:
    assert payload_of(row, BLOCS).shape == "row"
    assert _through(row) == [row]
    assert payload_of({"rows": 1}, BLOCS).shape == "data"


def _letter(data: Any) -> DeadLetter:
    def whole() -> tuple[str | None, Any]:
        payload = payload_of(data, BLOCS, limit=None)
        return payload.text, payload.frames

    return DeadLetter(item_id="a.1", stage="s", bloc="b", error_type="E", message="m", overflow=whole)


@pytest.mark.promise("P23")
def test_a_large_payload_is_kept_in_a_folder_without_secrets(tmp_path: Path) -> None:
    guard(["canary-4711-payload"])
    folder = PayloadFolder(f"file:{tmp_path}/kept")
    letter = folder.keep("run", _letter({"a": "x" * 1000, "b": "is canary-4711-payload"}))
    assert letter.overflow is None
    assert letter.payload_at is not None
    assert folder.read(letter.payload_at)["a"] == "x" * 1000
    (file,) = (tmp_path / "kept" / "run").iterdir()
    assert b"canary-4711" not in file.read_bytes()
    assert folder.keep("run", _letter({"a": "again"})).payload_at == letter.payload_at
    with pytest.raises(SourceError, match="is not below"):
        folder.read(f"file:{tmp_path}/kept/../secret.json")
    with pytest.raises(SourceError, match="cannot be read"):
        folder.read(f"file:{tmp_path}/kept/none.json")


def test_a_letter_is_kept_where_its_large_payload_cannot_be() -> None:
    letter = PayloadFolder("file:/proc/nowhere").keep("run", _letter({"a": "x"}))
    assert (letter.overflow, letter.payload_at, letter.payload) == (None, None, None)
