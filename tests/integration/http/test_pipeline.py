"""A pipeline that speaks to web services, in a process of its own, as a container would run it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.web import Answer, Asked, as_json, web
from tests.integration.job.process import Ended, environment, job

CANARY = "canary-4711-secret"


class Services:
    """An API with pages, one to ask about rows, and receivers."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.told: list[str] = []

    def __call__(self, asked: Asked) -> Answer:
        match asked.path.split("/")[1:]:
            case ["orders"]:
                if asked.headers.get("authorization") != f"Bearer {CANARY}":
                    return Answer(401, CANARY.encode())
                page = int(asked.query["page"])
                return as_json([{"id": page * 2 - 1}, {"id": page * 2}] if page < 4 else [])
            case ["price", number]:
                return Answer(500, CANARY.encode()) if number == "5" else as_json({"price": int(number) * 10})
            case ["in"]:
                self.received.append(asked.json())
                return Answer(204)
            case _:
                self.told.append(asked.json()["text"])
                return Answer(200)


def document(url: str) -> dict[str, Any]:
    quick = {"attempts": 2, "wait_s": 0}
    return {
        "name": "orders",
        "secrets": ["token", "signing"],
        "settings": {"max_errors": 1},
        "stages": [
            {
                "name": "load",
                "blocs": [
                    {
                        "name": "orders",
                        "bloc_type": "api_loader",
                        "config": {
                            "url": f"{url}orders",
                            "auth": {"type": "bearer", "token": "${secret:token}"},
                            "pagination": {"type": "page"},
                            "concurrency": 2,
                            "pages": True,
                        },
                    }
                ],
            },
            {
                "name": "ask",
                "blocs": [
                    {
                        "name": "prices",
                        "bloc_type": "http_call",
                        "config": {"url": f"{url}price/{{id}}", "into": "p", "http": quick},
                    }
                ],
            },
            {
                "name": "send",
                "blocs": [
                    {
                        "name": "hook",
                        "bloc_type": "webhook_exporter",
                        "config": {"url": f"{url}in", "secret": "${secret:signing}"},
                    },
                    {"name": "tell", "bloc_type": "notify", "config": {"url": f"{url}chat"}},
                ],
            },
        ],
    }


async def ran(folder: Path, services: Services, **variables: str) -> Ended:
    async with web(services) as server:
        path = folder / "pipeline.json"
        path.write_text(json.dumps(document(server.url())))
        env = environment(
            None,
            **{
                "CABLEWAY_HTTP_ALLOW": "127.0.0.1",
                "token": CANARY,
                "signing": "canary-signing-secret",
                "LOG_LEVEL": "DEBUG",
                **variables,
            },
        )
        return await asyncio.to_thread(job, "run", "--file", str(path), env=env)


@pytest.mark.promise("P23")
async def test_pages_become_items_that_are_asked_about_and_sent_on(tmp_path: Path) -> None:
    services = Services()
    ended = await ran(tmp_path, services)
    assert (ended.code, ended.last["state"]) == (0, "completed_with_errors"), ended.err
    sent = sorted((message["data"] for message in services.received), key=str)
    assert sent == [
        [{"id": 1, "p": {"price": 10}}, {"id": 2, "p": {"price": 20}}],
        [{"id": 3, "p": {"price": 30}}, {"id": 4, "p": {"price": 40}}],
    ]
    assert services.told == [f"orders (run {ended.last['run_id']}): completed with errors, rows: 4, items: 2"]
    assert "canary" not in ended.out + ended.err
    assert "have left" not in ended.err


@pytest.mark.promise("P26")
async def test_without_the_setting_nothing_inside_is_reached(tmp_path: Path) -> None:
    services = Services()
    ended = await ran(tmp_path, services, CABLEWAY_HTTP_ALLOW="")
    assert (ended.code, ended.last["error"]["type"]) == (3, "urn:cableway:error:address_refused"), ended.err
    assert services.received == []
    assert "CABLEWAY_HTTP_ALLOW" in ended.last["error"]["detail"]


@pytest.mark.promise("P23")
async def test_a_wrong_token_ends_the_run_with_77(tmp_path: Path) -> None:
    ended = await ran(tmp_path, Services(), token="canary-other-token")
    assert ended.code == 77, ended.err
    assert "answered 401; check 'auth' and its secret" in ended.last["error"]["detail"]
    assert "canary" not in ended.out + ended.err
