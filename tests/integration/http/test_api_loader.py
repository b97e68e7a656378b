from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from cableway.blocs.api_loader import ApiLoaderBloc
from cableway.errors import CredentialsError, HttpError
from cableway.redaction import guard
from tests.fixtures.web import Answer, Asked, as_json, web
from tests.integration.http.conftest import items, opened, whole
from tests.unit.blocs.contexts import context_of

ROWS = [{"id": number} for number in range(10)]


def rows(start: int, end: int) -> list[dict[str, int]]:
    return ROWS[start:end]


async def test_the_keys_of_the_seed_say_what_is_asked() -> None:
    async with web(lambda _: as_json(rows(0, 2))) as server:
        config: dict[str, Any] = {
            "url": server.url("/v1?fixed=1"),
            "method": "POST",
            "params": {"q": "a b", "tag": ["x", "y"], "n": 3},
            "headers": {"X-Team": "blue"},
            "json": {"since": "2026"},
        }
        async with opened("api_loader", **config) as bloc:
            assert await whole(bloc) == rows(0, 2)
    asked = server.asked[0]
    assert (asked.method, asked.json(), asked.headers["x-team"]) == ("POST", {"since": "2026"}, "blue")
    assert asked.target == "/v1?fixed=1&q=a+b&tag=x&tag=y&n=3"
    assert asked.headers["content-type"] == asked.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "record_path", "found"),
    [
        ({"id": 1}, None, [{"id": 1}]),
        ([1, 2], None, [1, 2]),
        ({"data": {"rows": [{"id": 1}]}}, "data.rows", [{"id": 1}]),
        ({"data": None}, "data", []),
        ({"g": [{"m": [1]}, {"m": [2, 3]}]}, "g[*].m", [1, 2, 3]),
        ({"one": {"id": 1}}, "$.one", [{"id": 1}]),
    ],
)
async def test_records_are_where_they_are(answer: Any, record_path: str | None, found: list[Any]) -> None:
    async with (
        web(lambda _: as_json(answer)) as server,
        opened("api_loader", url=server.url(), record_path=record_path) as bloc,
    ):
        assert await whole(bloc) == found


async def test_a_path_to_nothing_and_a_page_without_a_path_are_said() -> None:
    async with web(lambda _: as_json({"items": [1], "n": 1})) as server:
        async with opened("api_loader", url=server.url(), record_path="data") as bloc:
            with pytest.raises(HttpError, match=r"there is nothing at data \(record_path\)"):
                await whole(bloc)
        async with opened("api_loader", url=server.url(), pagination={"type": "auto"}) as bloc:
            with pytest.raises(HttpError, match=r"record_path.*members that are lists: items"):
                await whole(bloc)


async def test_an_answer_that_is_no_json_is_said_without_it() -> None:
    async with web(lambda _: Answer(200, b"<html>hidden", {"Content-Type": "text/html"})) as server:
        async with opened("api_loader", url=server.url()) as bloc:
            with pytest.raises(HttpError, match=r"12 bytes that are no JSON \(text/html\)") as caught:
                await whole(bloc)
    assert "hidden" not in str(caught.value)


def by_link(asked: Asked) -> Answer:
    page = int(asked.query.get("page", "1"))
    headers = {"Link": f'</x?page={page + 1}>; rel="next"'} if page < 4 else {}
    return Answer(200, as_json(rows(page * 2 - 2, page * 2)).body, headers)


def by_json(asked: Asked) -> Answer:
    page = int(asked.query.get("page", "1"))
    return as_json({"d": rows(page * 2 - 2, page * 2), "links": {"next": f"?page={page + 1}" if page < 4 else None}})


def by_cursor(asked: Asked) -> Answer:
    at = int(asked.query.get("after", "0"))
    return as_json({"d": rows(at, min(8, at + 3)), "meta": {"next": at + 3 if at + 3 < 8 else None}})


def by_header_cursor(asked: Asked) -> Answer:
    at = int(asked.query.get("cursor", "0"))
    return Answer(200, as_json(rows(at, at + 4)).body, {"X-Next": str(at + 4)} if at < 4 else {})


def by_body_cursor(asked: Asked) -> Answer:
    at = int(asked.json()["page"].get("after", 0))
    assert asked.json()["q"] == "x"
    return as_json({"d": rows(at, at + 4), "next": at + 4 if at < 4 else ""})


def by_offset(asked: Asked) -> Answer:
    at, size = int(asked.query["offset"]), int(asked.query["limit"])
    return as_json({"d": rows(at, min(8, at + size)), "total": 8})


def by_page(asked: Asked) -> Answer:
    page = int(asked.query["page"])
    if page > 3:
        return Answer(404, b'{"detail": "Invalid page."}')
    return as_json({"d": rows(page * 3 - 3, min(8, page * 3)), "pages": 3})


PAGINATIONS: list[tuple[Callable[[Asked], Answer], dict[str, Any]]] = [
    (by_link, {"pagination": {"type": "link_header"}}),
    (by_link, {"pagination": {"type": "auto"}}),
    (by_json, {"pagination": {"type": "json_link", "next_path": "links.next"}, "record_path": "d"}),
    (by_json, {"pagination": {"type": "auto"}, "record_path": "d"}),
    (by_cursor, {"pagination": {"type": "cursor", "next_path": "meta.next", "param": "after"}, "record_path": "d"}),
    (by_header_cursor, {"pagination": {"type": "cursor", "next_header": "X-Next"}}),
    (
        by_body_cursor,
        {
            "pagination": {"type": "cursor", "next_path": "next", "param": "page.after", "place": "body"},
            "method": "POST",
            "json": {"q": "x", "page": {"size": 4}},
            "record_path": "d",
        },
    ),
    (by_offset, {"pagination": {"type": "offset", "size": 3}, "record_path": "d"}),
    (by_offset, {"pagination": {"type": "offset", "size": 3, "total_path": "total"}, "record_path": "d"}),
    (by_offset, {"pagination": {"type": "offset", "size": 3, "until": "short"}, "record_path": "d"}),
    (by_offset, {"pagination": {"type": "offset", "size": 3}, "record_path": "d", "concurrency": 5}),
    (by_page, {"pagination": {"type": "page"}, "record_path": "d"}),
    (by_page, {"pagination": {"type": "page", "pages_path": "pages"}, "record_path": "d"}),
    (by_page, {"pagination": {"type": "page"}, "record_path": "d", "concurrency": 4}),
]


@pytest.mark.parametrize(("answering", "config"), PAGINATIONS)
@pytest.mark.parametrize("checked", [True, False])
async def test_every_way_of_paging_gives_every_record_once(
    answering: Callable[[Asked], Answer], config: dict[str, Any], checked: bool
) -> None:
    async with web(answering) as server:
        async with opened("api_loader", url=server.url("/x"), checked=checked, **config) as bloc:
            assert await whole(bloc) == rows(0, 8)
        async with opened("api_loader", url=server.url("/x"), checked=checked, pages=True, **config) as bloc:
            pages = await items(bloc)
            assert [record for _, page in pages for record in page] == rows(0, 8)
            assert len({position for position, _ in pages}) == len(pages)
        async with opened("api_loader", url=server.url("/x"), checked=checked, batch_size=5, **config) as bloc:
            assert await items(bloc) == [("0", rows(0, 5)), ("5", rows(5, 8))]


async def test_a_number_of_pages_spares_the_request_beyond_the_last() -> None:
    async with web(by_page) as server:
        config: dict[str, Any] = {
            "pagination": {"type": "page", "pages_path": "pages"},
            "record_path": "d",
            "concurrency": 9,
        }
        async with opened("api_loader", url=server.url(), **config) as bloc:
            await whole(bloc)
        assert [asked.query["page"] for asked in server.asked] == ["1", "2", "3"]


async def test_pages_are_asked_for_ahead_and_come_in_order() -> None:
    together = asyncio.Barrier(4)

    async def answering(asked: Asked) -> Answer:
        page = int(asked.query["page"])
        if 1 < page <= 5:
            await asyncio.wait_for(together.wait(), 10)
        return as_json([{"page": page}] if page <= 20 else [])

    async with web(answering) as server:
        config: dict[str, Any] = {"pagination": {"type": "page"}, "concurrency": 4, "pages": True}
        async with opened("api_loader", url=server.url(), **config) as bloc:
            assert [page[0]["page"] for _, page in await items(bloc)] == list(range(1, 21))
        assert server.most_at_once == 4


async def test_a_page_that_is_late_holds_up_no_other() -> None:
    others = asyncio.Event()

    async def answering(asked: Asked) -> Answer:
        page = int(asked.query["page"])
        if page == 2:
            await asyncio.wait_for(others.wait(), 10)
        if page == 5:  # two places on, and asked for in place of one that has come
            others.set()
        return as_json([{"page": page}] if page <= 6 else [])

    async with web(answering) as server:
        config: dict[str, Any] = {"pagination": {"type": "page"}, "concurrency": 2, "pages": True}
        async with opened("api_loader", url=server.url(), **config) as bloc:
            assert [page[0]["page"] for _, page in await items(bloc)] == list(range(1, 7))


async def test_a_parameter_of_the_url_gives_way_to_the_pages_own() -> None:
    async with web(lambda asked: as_json([1] if asked.query["page"] == "1" else [])) as server:
        pagination = {"type": "page", "size": 7, "size_param": "per page"}
        async with opened("api_loader", url=server.url("/x?page=9&a=b&limit=3"), pagination=pagination) as bloc:
            assert await whole(bloc) == [1]
    first, second = (asked.target for asked in server.asked[:2])
    assert first == "/x?a=b&limit=3&page=1&per+page=7"
    assert second == "/x?a=b&limit=3&page=2&per+page=7"


async def test_a_token_server_that_is_not_there_is_no_end_of_the_pages() -> None:
    def answering(asked: Asked) -> Answer:
        if asked.path == "/token":
            return as_json({"access_token": "t0-canary", "expires_in": 60}) if len(server.asked) == 1 else Answer(404)
        return as_json([1]) if asked.query["page"] == "1" else Answer(401)

    guard(["canary-secret"])
    async with web(answering) as server:
        auth = {**OAUTH, "token_url": server.url("/token")}
        async with opened("api_loader", url=server.url("/x"), auth=auth, pagination={"type": "page"}) as bloc:
            with pytest.raises(CredentialsError, match=r"the token server refused the client \(404\)"):
                await whole(bloc)


async def test_a_reader_that_stops_leaves_nothing_running() -> None:
    async with web(lambda asked: as_json([{"page": asked.query["page"]}])) as server:
        config: dict[str, Any] = {"pagination": {"type": "page"}, "concurrency": 4, "pages": True}
        async with opened("api_loader", url=server.url(), **config) as bloc:
            reading = bloc.load(context_of(bloc))
            assert (await anext(reading))[0] == "1"
            assert (await anext(reading))[0] == "2"
            await reading.aclose()
            assert asyncio.all_tasks() - {asyncio.current_task()} <= _of_the_server()


def _of_the_server() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "connected" in repr(task.get_coro())}


LOOPS: list[tuple[Callable[[Asked], Answer], dict[str, Any]]] = [
    (lambda _: Answer(200, b'[{"id": 1}]', {"Link": "</again>; rel=next"}), {"type": "link_header"}),
    (lambda _: as_json({"d": [1], "next": "c"}), {"type": "cursor", "next_path": "next"}),
    (lambda _: as_json({"d": [1]}), {"type": "page"}),
    (lambda asked: as_json({"d": [asked.query["page"]]}), {"type": "page", "max_pages": 5}),
]


@pytest.mark.parametrize(("answering", "pagination"), LOOPS)
async def test_asking_in_circles_is_noticed(answering: Callable[[Asked], Answer], pagination: dict[str, Any]) -> None:
    async with web(answering) as server:
        path = None if pagination["type"] == "link_header" else "d"
        async with opened("api_loader", url=server.url(), pagination=pagination, record_path=path) as bloc:
            with pytest.raises(HttpError) as caught:
                await whole(bloc)
        assert caught.value.reason == "loop"
        assert len(server.asked) <= 6


@pytest.mark.promise("P26")
async def test_a_next_link_does_not_take_the_credentials_elsewhere() -> None:
    async with web(lambda _: as_json([])) as other:
        link = {"Link": f"<{other.url()}>; rel=next"}
        async with web(lambda _: Answer(200, b"[1]", link)) as server:
            auth = {"type": "bearer", "token": "${secret:t}"}
            async with opened("api_loader", url=server.url(), pagination={"type": "auto"}, auth=auth) as bloc:
                with pytest.raises(HttpError, match="next link leads to http://127"):
                    await whole(bloc)
        assert other.asked == []


AUTHS: list[tuple[dict[str, Any], Callable[[Asked], bool]]] = [
    ({"type": "bearer", "token": "canary-1"}, lambda asked: asked.headers["authorization"] == "Bearer canary-1"),
    (
        {"type": "basic", "username": "ann", "password": "canary-1"},
        lambda asked: b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"ann:canary-1",
    ),
    ({"type": "api_key", "key": "canary-1", "name": "X-Key"}, lambda asked: asked.headers["x-key"] == "canary-1"),
    (
        {"type": "api_key", "key": "canary-1", "name": "key", "place": "query"},
        lambda asked: asked.query == {"a": "1", "key": "canary-1"},
    ),
]


@pytest.mark.promise("P23")
@pytest.mark.parametrize(("auth", "is_right"), AUTHS)
async def test_credentials_are_sent_and_never_said(auth: dict[str, Any], is_right: Callable[[Asked], bool]) -> None:
    guard(["canary-1"])
    async with web(lambda asked: as_json([1] if is_right(asked) else [])) as server:
        async with opened("api_loader", url=server.url("/?a=1"), auth=auth) as bloc:
            assert await whole(bloc) == [1]
    async with web(lambda _: Answer(401, b"canary-1")) as server:
        async with opened("api_loader", url=server.url("/?a=1"), auth=auth) as bloc:
            with pytest.raises(CredentialsError, match="answered 401; check 'auth' and its secret") as caught:
                await whole(bloc)
        assert len(server.asked) == 1
    assert "canary-1" not in str(caught.value)
    assert caught.value.exit_code == 77


def token_server(lasting: list[int], refuse: bool = False) -> tuple[Callable[[Asked], Answer], list[Asked]]:
    given: list[Asked] = []

    def answering(asked: Asked) -> Answer:
        if asked.path == "/token":
            given.append(asked)
            if refuse:
                return as_json({"error": "invalid_client"}, 401)
            return as_json({"access_token": f"canary-token-{len(given)}", "expires_in": lasting[0]})
        if asked.headers.get("authorization") != f"Bearer canary-token-{len(given)}":
            return Answer(401)
        if len(given) == 1 and asked.query["page"] == "3":
            return Answer(401)  # the token was taken back
        return as_json([asked.query["page"]] if int(asked.query["page"]) < 5 else [])

    return answering, given


OAUTH: Mapping[str, str] = {"type": "oauth2_client", "client_id": "me", "client_secret": "canary-secret"}


@pytest.mark.parametrize("client_in", ["header", "body"])
async def test_a_clients_token_is_kept_and_renewed_when_it_is_refused(client_in: str) -> None:
    answering, given = token_server([3600])
    guard(["canary-secret"])
    async with web(answering) as server:
        auth = {**OAUTH, "token_url": server.url("/token"), "scope": "a b", "client_in": client_in}
        async with opened("api_loader", url=server.url("/x"), auth=auth, pagination={"type": "page"}) as bloc:
            assert await whole(bloc) == ["1", "2", "3", "4"]
    assert len(given) == 2
    form = parse_qs(given[0].body.decode())
    assert (form["grant_type"], form["scope"]) == (["client_credentials"], ["a b"])
    if client_in == "header":
        assert b64decode(given[0].headers["authorization"].removeprefix("Basic ")) == b"me:canary-secret"
    else:
        assert (form["client_id"], form["client_secret"]) == (["me"], ["canary-secret"])


async def test_a_client_that_is_refused_is_said() -> None:
    answering, _ = token_server([1], refuse=True)
    async with web(answering) as server:
        auth = {**OAUTH, "token_url": server.url("/token")}
        guard(["canary-secret"])
        async with opened("api_loader", url=server.url(), auth=auth) as bloc:
            with pytest.raises(CredentialsError, match=r"the token server refused the client \(401\)"):
                await whole(bloc)


async def test_only_what_is_new_is_asked_for() -> None:
    def answering(asked: Asked) -> Answer:
        since = int(asked.query.get("since", "0"))
        return as_json([{"id": number, "at": number} for number in range(since, 6)])

    config: dict[str, Any] = {
        "incremental": {"cursor_field": "at"},
        "incremental_params": {"since": "{start}"},
        "pages": True,
    }
    async with web(answering) as server:
        async with opened("api_loader", url=server.url(), **config) as bloc:
            bloc.follow(bloc.plan(context_of(bloc), {}), {})
            assert [len(page) for _, page in await items(bloc)] == [6]
            state = bloc.reached()
            assert ApiLoaderBloc.keeps_cursor(bloc.config)
        async with opened("api_loader", url=server.url(), **config) as bloc:
            bloc.follow(bloc.plan(context_of(bloc), state), {})
            assert await items(bloc) == []
    assert [asked.query for asked in server.asked] == [{}, {"since": "5"}]


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"url": "ftp://a.example"}, "/url"),
        ({"url": "http://2130706433/"}, "/url"),
        ({"auth": {"type": "bearer", "token": "plain"}}, "/auth/token"),
        ({"auth": {"type": "bearer"}}, "/auth/token"),
        ({"auth": {"type": "oauth2_client", "client_id": "a", "client_secret": "${secret:s}"}}, "/auth/token_url"),
        ({"auth": {"type": "digest"}}, "/auth/type"),
        ({"pagination": {"type": "offset"}}, "/pagination/size"),
        ({"pagination": {"type": "cursor"}}, "/pagination/next_path"),
        ({"pagination": {"type": "json_link", "next_path": "a[*]"}}, "/pagination/next_path"),
        ({"pagination": {"type": "auto"}, "concurrency": 2}, "/concurrency"),
        ({"record_path": "a..b"}, "/record_path"),
        ({"pages": True, "batch_size": 5}, "/pages"),
        ({"json": {}}, "/json"),
        ({"headers": {"a b": "c"}}, "/headers/a b"),
        ({"headers": {"a": "c\r\nd: e"}}, "/headers/a"),
        ({"http": {"attempts": 11}}, "/http/attempts"),
        ({"incremental": {"cursor_field": "at"}}, "/incremental"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any], pointer: str) -> None:
    from cableway.catalog import Catalog

    _, faults = Catalog().normalise("api_loader", {"url": "https://a.example", **config})
    assert [fault.pointer for fault in faults] == [pointer]
    assert "plain" not in str(faults)
