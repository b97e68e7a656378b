"""The Lambda handler under the real runtime client: requests in every form, events of every kind, one run for each."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.fixtures.lambda_runtime import LambdaProcess, running_lambda
from tests.integration.api.conftest import Database
from tests.integration.api.sending import SECRET_TEXT, webhook

RULE = "arn:aws:events:eu-west-1:123456789012:rule/every-hour"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:arrivals"
TRIGGERS: dict[str, dict[str, Any]] = {
    "hourly-rule": {"match": {"rule": "every-hour"}, "parameters": {"day": "$.time"}},
    "arrived": {
        "match": {"source": "aws.s3", "detail_type": "Object Created", "bucket": "inbox", "prefix": "in/"},
        "parameters": {"day": "$.detail.object.key"},
    },
    "queued": {"match": {"queue": "arrivals"}, "when": "$.skip != true", "parameters": {"count": "$.count"}},
}


@pytest.fixture(scope="module")
def function(postgres: Any) -> Iterator[tuple[LambdaProcess, Database]]:
    """One process for all tests, as AWS keeps one, over a database with a hook and triggers for events."""
    name = postgres.create_database()
    stored = Database(postgres.conninfo(name))
    stored.add_pipeline()
    stored.add_hook("orders", "env:ORDERS_SECRET")
    with DatabaseStorage(DatabaseSettings(url=stored.conninfo)) as storage:
        for trigger, config in TRIGGERS.items():
            storage.create_trigger(trigger, "orders", kind="event", config=config)
    environment = {"DATABASE_URL": stored.conninfo, "ORDERS_SECRET": SECRET_TEXT, "CABLEWAY_LAUNCHER": "none"}
    with running_lambda({**os.environ, **environment}) as process:
        yield process, stored
    postgres.drop_database(name)


def runs(stored: Database, trigger: str) -> list[dict[str, Any]]:
    return stored.rows(f"SELECT parameters FROM cableway.runs WHERE trigger_name = '{trigger}' ORDER BY run_id")


def http(form: str, request: Any, *, encoded: bool = True) -> dict[str, Any]:
    """*request* as API Gateway (v1, v2), a function URL or an ALB tells it."""
    body = base64.b64encode(request.content).decode() if encoded else request.content.decode()
    headers = {**request.headers, "host": "api.example.com"}
    path, method = request.url.path, request.method
    common = {"body": body, "isBase64Encoded": encoded}
    around: dict[str, Any]
    match form:
        case "v2":
            http = {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
            around = {"http": http, "stage": "$default", "domainName": "x"}
            return {
                **common, "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": headers,
                "requestContext": around,
            }  # fmt: skip
        case "url":
            host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.on.aws"
            http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x/1"}
            around = {
                "accountId": "anonymous", "apiId": host[:32], "authentication": None, "authorizer": None,
                "domainName": host, "domainPrefix": host[:32], "http": http, "requestId": "e1506fd5",
                "stage": "$default", "routeKey": "$default", "time": "31/Jan/2026:00:00:00 +0000",
                "timeEpoch": 1769817600000,
            }  # fmt: skip
            forwarded = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-port": "443"}
            return {
                **common, "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "wait=0",
                "queryStringParameters": {"wait": "0"}, "cookies": ["a=1"], "requestContext": around,
                "headers": {**headers, **forwarded, "host": host},
            }  # fmt: skip
        case "v1":
            many = {name: [value] for name, value in headers.items()}
            around = {"stage": "prod", "identity": {"sourceIp": "192.0.2.1"}, "resourcePath": path}
            return {
                **common, "resource": path, "path": path, "httpMethod": method, "headers": headers,
                "multiValueHeaders": many, "queryStringParameters": None, "requestContext": around,
            }  # fmt: skip
        case _:
            elb = {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/y"}}
            return {
                **common, "path": path, "httpMethod": method, "headers": headers, "queryStringParameters": {},
                "requestContext": elb,
            }  # fmt: skip


@pytest.mark.fault("E24")
@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("form", ["v1", "v2", "url", "alb"])
def test_a_signed_webhook_is_one_run_however_it_comes(
    function: tuple[LambdaProcess, Database], form: str, encoded: bool
) -> None:
    process, stored = function
    before = len(runs(stored, "orders"))
    event = http(form, webhook("https://x", '{"day": "é"}'.encode(), id=f"msg_{form}_{encoded}"), encoded=encoded)
    first, again = process.invoke(event), process.invoke(event)
    assert (first.value["statusCode"], again.value["statusCode"]) == (202, 200), first.value
    assert json.loads(first.value["body"]) == json.loads(again.value["body"])
    assert len(runs(stored, "orders")) == before + 1
    forged = {**event, "body": event["body"][:-4] + "AAA="} if encoded else {**event, "body": event["body"] + " "}
    assert process.invoke(forged).value["statusCode"] in {401, 400}
    assert len(runs(stored, "orders")) == before + 1


def test_the_resources_are_there_too_and_need_a_key(function: tuple[LambdaProcess, Database]) -> None:
    process, _ = function
    request = webhook("https://x", b"")
    request.url = request.url.copy_with(path="/pipelines")
    request.method = "GET"
    answer = process.invoke(http("v2", request)).value
    assert answer["statusCode"] == 401, answer
    assert json.loads(answer["body"])["type"] == "urn:cableway:error:key_needed"


@pytest.mark.fault("D15")
@pytest.mark.promise("P1")
def test_a_rules_event_three_times_late_and_out_of_order_is_one_run(function: tuple[LambdaProcess, Database]) -> None:
    process, stored = function

    def tick(hour: int, id: str) -> dict[str, Any]:
        return {
            "version": "0", "id": id, "detail-type": "Scheduled Event", "source": "aws.events", "account": "1",
            "time": f"2026-01-31T{hour:02}:00:00Z", "region": "eu-west-1", "resources": [RULE], "detail": {},
        }  # fmt: skip

    told = [process.invoke(tick(hour, f"{hour}{n}")).value for n, hour in enumerate([3, 2, 3, 1, 2, 3, 1, 1, 2])]
    assert sum(each["events"][0]["new"] for each in told) == 3
    assert {run["parameters"]["day"][11:13] for run in runs(stored, "hourly-rule")} == {"01", "02", "03"}
    assert len(runs(stored, "hourly-rule")) == 3


def s3_notification(key: str, sequencer: str, bucket: str = "inbox") -> dict[str, Any]:
    stored = {"key": key, "size": 5, "eTag": "abc", "sequencer": sequencer}
    return {
        "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-01-31T00:00:00Z",
        "awsRegion": "eu-west-1", "s3": {"bucket": {"name": bucket}, "object": stored},
    }  # fmt: skip


def test_an_object_is_one_run_whoever_tells_of_it(function: tuple[LambdaProcess, Database]) -> None:
    process, stored = function
    bridged: dict[str, Any] = {
        "version": "0", "id": "e1", "detail-type": "Object Created", "source": "aws.s3", "resources": [],
        "detail": {"bucket": {"name": "inbox"}, "object": {"key": "in/a b.csv", "sequencer": "0A"}},
    }  # fmt: skip
    notified: dict[str, Any] = {"Records": [s3_notification("in/a+b.csv", "0A"), s3_notification("in/other.csv", "0B")]}
    for event in (bridged, notified, bridged, notified):
        assert not process.invoke(event).failed
    assert [run["parameters"]["day"] for run in runs(stored, "arrived")] == ["in/a b.csv", "in/other.csv"]
    for elsewhere in (s3_notification("out/a.csv", "0C"), s3_notification("in/a.csv", "0D", bucket="other")):
        assert process.invoke({"Records": [elsewhere]}).value["events"][0]["unknown"] == 1
    assert len(runs(stored, "arrived")) == 2


def test_of_a_batch_only_the_messages_that_failed_come_again(function: tuple[LambdaProcess, Database]) -> None:
    process, stored = function

    def message(id: str, body: object, queue: str = QUEUE) -> dict[str, Any]:
        text = body if isinstance(body, str) else json.dumps(body)
        return {"messageId": id, "body": text, "eventSource": "aws:sqs", "eventSourceARN": queue}

    batch = [
        message("good", {"count": 1}),
        message("bad", {"count": "many"}),
        message("skipped", {"skip": True}),
        message("good", {"count": 1}),
        message("stranger", {}, queue=QUEUE.replace("arrivals", "others")),
        message("no json", "["),
        message("object", {"Records": [s3_notification("in/queued.csv", "0Z")]}),
        message("hello", {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "inbox"}),
    ]
    for _ in range(2):
        answer = process.invoke({"Records": batch}).value
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        assert failed == {"bad", "stranger"}
    counts = [run["parameters"]["count"] for run in runs(stored, "queued")]
    assert counts.count(1) == 1
    assert len(counts) == 3  # the good one, the one without JSON, the object


def test_a_rule_of_ours_decides_what_is_due(function: tuple[LambdaProcess, Database]) -> None:
    process, _ = function
    assert process.invoke({"cableway": "tick"}).value == {"schedulers": 0}
    assert process.invoke({"cableway": {"scheduler": "nobody"}}).value == {"schedulers": 0}


def test_what_is_no_event_is_an_error_that_says_so(function: tuple[LambdaProcess, Database]) -> None:
    process, _ = function
    strange: list[dict[str, Any]] = [{}, {"hello": 1}, {"cableway": "tock"}, {"Records": []}]
    for event in strange:
        answer = process.invoke(event)
        assert answer.failed
        assert answer.value["errorType"] == "SettingsError"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CABLEWAY_LAUNCHER": "none"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://x@127.0.0.1/x"}, "CABLEWAY_LAUNCHER"),
        ({"DATABASE_URL": "postgresql://x@127.0.0.1/x", "CABLEWAY_LAUNCHER": "local"}, "CABLEWAY_LAUNCHER"),
        ({"DATABASE_URL": "postgresql://x@127.0.0.1/x", "CABLEWAY_LAUNCHER": "ship"}, "CABLEWAY_LAUNCHER"),
    ],
)
def test_settings_that_cannot_work_end_the_process_with_78(variables: dict[str, str], named: str) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "CABLEWAY_"))}
    with running_lambda({**plain, **variables}) as process:
        code, said = process.end({"cableway": "tick"})
    assert (code, named in said) == (78, True), said


def test_the_handler_loads_no_pages_no_blocs_and_no_data_libraries() -> None:
    code = "import sys, cableway_handlers.aws_lambda; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"pandas", "numpy", "pyarrow", "duckdb", "jinja2", "boto3", "croniter", "rich", "typer", "dask", "uvicorn"}
    ours = ("cableway.blocs", "cableway.flow", "cableway.job", "cableway.running", "cableway_handlers.cli")
    assert not loaded & heavy
    assert not [name for name in loaded if name.startswith(ours)]
    assert not {name for name in loaded if name.startswith("cableway_handlers.pages")}
