"""Objects of a store: moto's server for what works, one of our own for what does not."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from cableway.blocs.kinds import Ending, Resources
from cableway.blocs.s3 import uploads
from cableway.blocs.s3.connection import connect, faults
from cableway.blocs.s3_exporter import S3ExporterBloc
from cableway.blocs.s3_loader import S3LoaderBloc
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.context import RunContext
from cableway.definition import BlocDefinition
from cableway.errors import (
    AddressRefusedError,
    CredentialsError,
    ObjectStoreError,
    RowError,
    SourceChangedError,
    SourceError,
)
from cableway.running.payload_folder import PayloadFolder
from cableway.settings import HttpSettings
from cableway.store.port import DeadLetter
from tests.fixtures.web import Answer, Asked, as_json, web
from tests.integration.job.process import command, environment
from tests.integration.job.process import job as ended_job
from tests.unit.blocs.contexts import FACTS, context_of

HERE = HttpSettings(allow=("127.0.0.1",))
BUCKET = "cargo"
pa, parquet = library("pyarrow"), library("pyarrow.parquet")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(endpoint: str) -> Any:
    """Somebody else's."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    return library("boto3.session").Session().client("s3", endpoint_url=endpoint, **keys)


@pytest.fixture
def store(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """That client, and an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def built(bloc_type: str, endpoint: str | None, settings: HttpSettings | None = HERE, **config: Any) -> Any:
    access = {"endpoint_url": endpoint, **config.pop("access", {})}
    catalog = Catalog()
    written, faults = catalog.normalise(bloc_type, {"bucket": BUCKET, **config, "access": access})
    assert faults == []
    bloc = catalog.build(BlocDefinition(name="b", bloc_type=bloc_type, config=written), checked=True)
    bloc.bind(Resources(http=settings))
    return bloc


def loader(endpoint: str | None, **config: Any) -> S3LoaderBloc:
    bloc: S3LoaderBloc = built("s3_loader", endpoint, **config)
    bloc.open(context_of(bloc))
    return bloc


def exporter(endpoint: str | None, *, line: str = "line-1", **config: Any) -> S3ExporterBloc:
    bloc: S3ExporterBloc = built("s3_exporter", endpoint, **config)
    bloc.open(RunContext(replace(FACTS, line=line), bloc="b"))
    return bloc


def items(bloc: S3LoaderBloc) -> list[tuple[str, list[Any]]]:
    found = [(position, table.to_pylist()) for position, table in bloc.load(context_of(bloc))]
    bloc.close(Ending.SUCCEEDED)
    return found


def export(bloc: S3ExporterBloc, rows: Any, item_id: str = "0:0:0") -> int:
    return bloc.export(context_of(bloc, {"source": rows}, item_id))


def put(store: Any, key: str, text: str | bytes) -> None:
    store.put_object(Bucket=BUCKET, Key=key, Body=text.encode() if isinstance(text, str) else text)


def keys(store: Any) -> list[str]:
    return [entry["Key"] for entry in store.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def body(store: Any, key: str) -> bytes:
    data: bytes = store.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return data


def uploads_of(store: Any) -> list[str]:
    return [upload["Key"] for upload in store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def test_one_object_and_those_that_a_pattern_or_a_prefix_means(store: Any, endpoint: str) -> None:
    put(store, "in/a.csv", "n\n1\n2\n")
    put(store, "in/b.csv.gz", gzip.compress(b"n\n3\n"))
    put(store, "in/deep/c.csv", "n\n4\n")
    put(store, "in/", "")
    whole = loader(endpoint, key="in/a.csv")
    assert whole.load(context_of(whole)).to_pylist() == [{"n": 1}, {"n": 2}]
    whole.close(Ending.SUCCEEDED)
    flat = items(loader(endpoint, key="in/*.csv*", batch_size=1))
    assert [row["n"] for _, rows in flat for row in rows] == [1, 2, 3]
    assert [row["n"] for _, rows in items(loader(endpoint, key="in/**/*.csv", batch_size=9)) for row in rows] == [
        1,
        2,
        4,
    ]
    assert [row["n"] for _, rows in items(loader(endpoint, key="in/", batch_size=9)) for row in rows] == [1, 2, 3, 4]
    options = loader(endpoint, key="in/a.csv", batch_size=9, options={"types": {"n": "string"}})
    assert [rows for _, rows in items(options)] == [[{"n": "1"}, {"n": "2"}]]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_form_is_read_that_is_written(store: Any, endpoint: str, form: str) -> None:
    rows = [{"n": number, "t": f"t{number}"} for number in range(5)]
    bloc = exporter(endpoint, key="o/{item}", format=form)
    export(bloc, rows)
    bloc.close(Ending.SUCCEEDED)
    found = items(loader(endpoint, key="o/", format=form, batch_size=2))
    assert [row for _, part in found for row in part] == rows
    position, mark = found[1][0], loader(endpoint, key="o/", format=form, batch_size=2)
    fingerprint = mark.fingerprint(position)
    mark.resume(position, fingerprint)
    assert items(mark) == found[1:]


def test_reading_goes_on_where_it_was_while_the_object_is_the_same(store: Any, endpoint: str) -> None:
    put(store, "a.csv", "n\n1\n2\n3\n")
    first = loader(endpoint, key="a.csv", batch_size=1)
    plan = first.plan(context_of(first), {})
    position, _ = items(first)[1]
    mark = first.fingerprint(position)
    again = loader(endpoint, key="a.csv", batch_size=1)
    again.follow(plan, {})
    again.resume(position, mark)
    assert [rows for _, rows in items(again)] == [[{"n": 2}], [{"n": 3}]]
    put(store, "a.csv", "n\n1\n9\n3\n")  # as large, and within the same second
    later = loader(endpoint, key="a.csv", batch_size=1)
    with pytest.raises(SourceChangedError, match=r"s3://cargo/a.csv has changed.*then ETag \w+, now \w+"):
        later.follow(plan, {})
    with pytest.raises(SourceChangedError):
        later.resume(position, mark)


def test_an_object_that_changes_between_listing_and_reading_is_noticed(store: Any, endpoint: str) -> None:
    put(store, "a.csv", "n\n1\n")
    bloc = loader(endpoint, key="a.csv", batch_size=1)
    put(store, "a.csv", "n\n2\n")
    with pytest.raises(SourceChangedError, match="has changed since it was looked at"):
        items(bloc)


def test_nothing_there_is_said(store: Any, endpoint: str) -> None:
    with pytest.raises(ObjectStoreError, match=r"s3://cargo/no.csv: is not there; check bucket and key") as caught:
        loader(endpoint, key="no.csv")
    assert caught.value.reason == "missing"
    with pytest.raises(SourceError, match="no object is there or matches"):
        loader(endpoint, key="no/*.csv")


def test_each_item_is_an_object_and_the_same_item_the_same_one(store: Any, endpoint: str) -> None:
    for _ in range(2):
        bloc = exporter(endpoint, key="out/{pipeline}/{line}/{item}.parquet")
        assert export(bloc, [{"n": 1}, {"n": 2}], "0:0:0") == 2
        assert export(bloc, pa.table({"n": [3]}), "0:2:9") == 1
        bloc.close(Ending.FAILED)
        assert bloc.outputs()["objects"] == 2
    assert keys(store) == ["out/p/line-1/0-0-0.parquet", "out/p/line-1/0-2-9.parquet"]
    table = parquet.read_table(pa.BufferReader(body(store, "out/p/line-1/0-0-0.parquet")))
    assert table.to_pylist() == [{"n": 1}, {"n": 2}]


@pytest.mark.promise("P21")
@pytest.mark.parametrize(
    ("form", "compression"), [("csv", "none"), ("csv", "gzip"), ("jsonl", "gzip"), ("parquet", "zstd")]
)
def test_a_run_is_one_object_that_appears_at_its_end(store: Any, endpoint: str, form: str, compression: str) -> None:
    put(store, "out.dat", "old")
    for ending in (Ending.FAILED, Ending.SUCCEEDED):
        assert body(store, "out.dat") == b"old"
        bloc = exporter(endpoint, key="out.dat", format=form, compression=compression)
        export(bloc, [{"n": 1, "t": "a"}])
        export(bloc, [{"t": "b", "n": 2}], "0:1:1")
        with pytest.raises(RowError, match="these differ in: 'x'"):
            export(bloc, [{"n": 1, "t": "a", "x": 1}])
        bloc.close(ending)
    data = body(store, "out.dat")
    data = gzip.decompress(data) if compression == "gzip" else data
    rows = [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]
    match form:
        case "csv":
            assert data == b'"n","t"\n1,"a"\n2,"b"\n'
        case "jsonl":
            assert [json.loads(line) for line in data.splitlines()] == rows
        case _:
            assert parquet.read_table(pa.BufferReader(data)).to_pylist() == rows
    assert uploads_of(store) == []


@pytest.mark.fault("H9")
@pytest.mark.promise("P21")
def test_a_large_object_goes_in_parts_and_none_of_them_stay_behind(store: Any, endpoint: str) -> None:
    rows = [{"t": "x" * 1_000_000} for _ in range(6)]

    def begun(key: str = "big.csv", **more: Any) -> S3ExporterBloc:
        bloc = exporter(endpoint, key=key, format="csv", part_mib=5, **more)
        export(bloc, rows)
        return bloc

    failed = begun()
    assert uploads_of(store) == ["big.csv"]
    failed.close(Ending.FAILED)
    assert (uploads_of(store), keys(store)) == ([], [])
    begun()  # killed: nobody closes it
    assert uploads_of(store) == ["big.csv"]
    other = store.create_multipart_upload(Bucket=BUCKET, Key="big.csv.other")
    after = begun()
    assert sorted(uploads_of(store)) == ["big.csv", "big.csv.other"]
    after.close(Ending.SUCCEEDED)
    assert uploads_of(store) == ["big.csv.other"]
    assert len(body(store, "big.csv")) > 6_000_000
    store.abort_multipart_upload(Bucket=BUCKET, Key="big.csv.other", UploadId=other["UploadId"])


@pytest.mark.chaos
@pytest.mark.fault("H9")
@pytest.mark.promise("P21")
async def test_a_job_that_is_killed_leaves_no_object_and_the_next_one_its_own_alone(
    store: Any, endpoint: str, tmp_path: Path
) -> None:
    killed = asyncio.Event()

    async def answering(asked: Asked) -> Answer:
        page = int(asked.query["page"])
        if page == 4:
            await killed.wait()
        return as_json([{"t": "x" * 2_000_000, "page": page}] if page < 4 else [])

    async with web(answering) as server:
        loads = {"url": server.url(), "pagination": {"type": "page"}, "pages": True}
        writes = {
            "bucket": BUCKET,
            "key": "big.csv",
            "format": "csv",
            "part_mib": 5,
            "access": {"endpoint_url": endpoint},
        }
        blocs = {"read": ("api_loader", loads), "write": ("s3_exporter", writes)}
        stages = [{"blocs": [{"name": n, "bloc_type": t, "config": c}]} for n, (t, c) in blocs.items()]
        path = tmp_path / "pipeline.json"
        path.write_text(json.dumps({"name": "big", "stages": stages}))
        keys_of_aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        env = environment(None, CABLEWAY_HTTP_ALLOW="127.0.0.1", **keys_of_aws)
        job = await asyncio.create_subprocess_exec(
            *command("run", "--file", str(path)), env=env, stdout=DEVNULL, stderr=DEVNULL
        )
        for _ in range(3000):  # the store tells nobody
            if await asyncio.to_thread(uploads_of, store):
                break
            await asyncio.sleep(0.02)
        job.kill()
        await job.wait()
        assert (keys(store), uploads_of(store)) == ([], ["big.csv"])
        killed.set()
        again = await asyncio.to_thread(ended_job, "run", "--file", str(path), env=env)
    assert again.code == 0, again.err
    assert (keys(store), uploads_of(store)) == (["big.csv"], [])
    assert len(body(store, "big.csv").splitlines()) == 4


@pytest.mark.fault("H9")
def test_only_uploads_of_the_same_line_are_swept_at_once(
    store: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # moto's uploads have all begun in 2010.
    monkeypatch.setattr("cableway.blocs.s3_exporter._LEFT_BEHIND", timedelta(days=36500))
    for key in ("o/line-1/0-0-0.csv", "o/line-2/0-0-0.csv", "o/line-1/x/y.csv"):
        store.create_multipart_upload(Bucket=BUCKET, Key=key)
    exporter(endpoint, key="o/{line}/{item}.csv", format="csv")
    assert sorted(uploads_of(store)) == ["o/line-1/x/y.csv", "o/line-2/0-0-0.csv"]


class Uploads:
    """A store with one upload that has just begun."""

    def __init__(self) -> None:
        self.aborted: list[str] = []

    def get_paginator(self, _: str) -> Uploads:
        return self

    def paginate(self, **_: Any) -> list[Any]:
        return [{"Uploads": [{"Key": "o/1.csv", "UploadId": "u", "Initiated": datetime.now(UTC)}]}, {}]

    def abort_multipart_upload(self, **target: Any) -> None:
        self.aborted.append(target["Key"])


@pytest.mark.fault("H9")
def test_under_a_key_that_runs_share_a_young_upload_is_left_alone() -> None:
    young = Uploads()
    assert uploads.sweep(young, BUCKET, "o/", lambda _: timedelta(days=1)) == 0
    assert uploads.sweep(young, BUCKET, "o/", lambda _: None) == 0
    assert uploads.sweep(young, BUCKET, "o/", lambda _: timedelta(0)) == 1
    assert young.aborted == ["o/1.csv"]


@pytest.mark.fault("H9")
def test_what_no_attempt_comes_back_for_goes_after_a_day(store: Any, endpoint: str) -> None:
    for key in ("o/line-2/0-0-0.csv", "o/line-2/x/y.csv", "other/0.csv"):
        store.create_multipart_upload(Bucket=BUCKET, Key=key)
    exporter(endpoint, key="o/{line}/{item}.csv", format="csv")
    assert sorted(uploads_of(store)) == ["o/line-2/x/y.csv", "other/0.csv"]


def test_a_broken_upload_stays_broken(store: Any, endpoint: str) -> None:
    bloc = exporter(endpoint, key="big.csv", format="csv", part_mib=5)
    rows = [{"t": "x" * 1_000_000} for _ in range(6)]
    export(bloc, rows)
    (upload,) = store.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    store.abort_multipart_upload(Bucket=BUCKET, Key="big.csv", UploadId=upload["UploadId"])
    with pytest.raises(ObjectStoreError):
        export(bloc, rows)
    with pytest.raises(ObjectStoreError, match="an earlier part"):
        export(bloc, [{"t": "y"}])
    with pytest.raises(ObjectStoreError):
        bloc.close(Ending.SUCCEEDED)
    assert keys(store) == []


def said(code: str, status: int) -> Answer:
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>canary</Message></Error>"
    return Answer(status, xml.encode(), {"Content-Type": "application/xml"})


FAULTS = [
    (said("AccessDenied", 403), "denied"),
    (said("SlowDown", 503), "throttled"),
    (said("RequestTimeTooSkewed", 403), "clock"),
    (said("InternalError", 500), "unavailable"),
    (said("Strange", 418), "refused"),
]
KEYED = {"access_key_id": "me", "secret_access_key": "${secret:s}", "region": "us-east-1", "attempts": 1}


@pytest.mark.fault("H9")
@pytest.mark.promise("P21")
@pytest.mark.parametrize(("answer", "reason"), FAULTS)
async def test_what_a_store_refuses_has_a_type(answer: Answer, reason: str) -> None:
    async with web(lambda _: answer) as server:
        endpoint = server.url().rstrip("/")
        with pytest.raises(ObjectStoreError) as reading:
            await asyncio.to_thread(loader, endpoint, key="in/*.csv", access=KEYED)
        with pytest.raises(ObjectStoreError) as writing:
            await asyncio.to_thread(exporter, endpoint, key="out.csv", format="csv", access=KEYED)
    for caught in (reading, writing):
        assert caught.value.reason == reason
        assert caught.value.exit_code == 3
        assert "canary" not in str(caught.value)


@pytest.mark.fault("H9")
async def test_an_object_that_is_not_sent_whole_is_no_object() -> None:
    head = {"ETag": '"e"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}

    def answering(asked: Any) -> Answer:
        if asked.method == "HEAD":
            return Answer(200, b"", {"Content-Length": "100", **head})
        return Answer(200, b"n\n1\n", {"Content-Length": "100", **head, "Connection": "close"})

    def read(endpoint: str) -> None:
        items(loader(endpoint, key="a.csv", batch_size=1, access={**KEYED, "idle_s": 0.3}))

    async with web(answering) as server:
        with pytest.raises((ObjectStoreError, SourceError)) as caught:
            await asyncio.to_thread(read, server.url().rstrip("/"))
    assert getattr(caught.value, "reason", "truncated") in {"truncated", "unavailable"}


@pytest.mark.promise("P26")
def test_an_endpoint_inside_is_refused_unless_it_is_allowed() -> None:
    bloc = built("s3_loader", "http://169.254.169.254", settings=None, key="a.csv")
    with pytest.raises(AddressRefusedError):
        bloc.open(context_of(bloc))


@pytest.mark.promise("P26")
@pytest.mark.fault("F6")
def test_a_name_that_changes_its_address_leads_nowhere_else(
    store: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = endpoint.rpartition(":")[2]
    answers = [["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"]]

    def rebinding(host: str, port: int) -> list[str]:
        assert host == "localhost.example"
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr("cableway.blocs.http.backend.looked_up", rebinding)
    monkeypatch.setattr("cableway.blocs.s3.vetted.looked_up", rebinding)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.3:9")
    connected = connect({"endpoint_url": f"http://localhost.example:{port}", "attempts": 1}, HERE)
    connected.put_object(Bucket=BUCKET, Key="a", Body=b"1")
    connected.close()
    with pytest.raises(AddressRefusedError, match=r"localhost.example is at 127\.0\.0\.2"), faults("s3://cargo/a"):
        connected.head_object(Bucket=BUCKET, Key="a")
    assert store.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1


def test_a_proxy_that_is_set_gets_the_name(store: Any, endpoint: str) -> None:
    settings = replace(HERE, proxy=endpoint)
    connected = connect({"endpoint_url": "http://localhost.example", "attempts": 1}, settings)
    connected.put_object(Bucket=BUCKET, Key="proxied", Body=b"1")
    assert store.head_object(Bucket=BUCKET, Key="proxied")["ContentLength"] == 1
    with pytest.raises(AddressRefusedError):
        connect({"endpoint_url": "http://10.0.0.1"}, settings)


def test_without_credentials_it_is_said(
    store: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="no credentials"):
        loader(endpoint, key="a.csv")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.mark.parametrize(
    ("bloc_type", "config", "pointer"),
    [
        ("s3_loader", {"options": {"sep": ";"}}, "/options/sep"),
        ("s3_loader", {"options": {"delimiter": "ab"}}, "/options/delimiter"),
        ("s3_loader", {"options": {"file_path": "x"}}, "/options/file_path"),
        ("s3_loader", {"access": {"endpoint_url": "ftp://a"}}, "/access/endpoint_url"),
        ("s3_loader", {"access": {"access_key_id": "a", "secret_access_key": "b"}}, "/access/secret_access_key"),
        ("s3_exporter", {"access": {"access_key_id": "a"}}, "/access/access_key_id"),
        ("s3_exporter", {"key": "x/{day}"}, "/key"),
        ("s3_exporter", {"key": "/x"}, "/key"),
        ("s3_exporter", {"format": "csv", "compression": "zstd"}, "/compression"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(bloc_type: str, config: dict[str, Any], pointer: str) -> None:
    _, faults = Catalog().normalise(bloc_type, {"bucket": BUCKET, "key": "a.csv", **config})
    assert [fault.pointer for fault in faults] == [pointer]


def test_large_payloads_are_kept_in_a_bucket(store: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    folder = PayloadFolder(f"s3://{BUCKET}/payloads")
    letter = DeadLetter(
        item_id="1", stage="s", bloc="b", error_type="E", message="m", overflow=lambda: ('{"a": [1, 2]}', None)
    )
    kept = folder.keep("run", letter)
    assert kept.payload_at is not None
    assert kept.payload_at.startswith(f"s3://{BUCKET}/payloads/run/")
    assert folder.read(kept.payload_at) == {"a": [1, 2]}
    assert PayloadFolder("s3://no-such-bucket").keep("run", letter).payload_at is None
