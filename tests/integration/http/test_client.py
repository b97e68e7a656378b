"""What a server, or whoever answers for a name, can do to a request."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cableway.blocs.http.addresses import parsed
from cableway.blocs.http.client import Client
from cableway.blocs.http.message import Reply, Request
from cableway.blocs.http.options import HttpOptions
from cableway.errors import AddressRefusedError, HttpError, SettingsError
from cableway.settings import HttpSettings
from tests.fixtures.web import Answer, Asked, Web, as_json, web
from tests.integration.http.conftest import HERE


async def sent(url: str, *, settings: HttpSettings | None = HERE, resolver: Any = None, **more: Any) -> Reply:
    given_options: Any = {"attempts": 1, "wait_s": 0.001, "max_wait_s": 0.01, **more.pop("options", {})}
    options = HttpOptions(**given_options)
    seams = {} if resolver is None else {"resolver": resolver}
    client = Client(options, settings, **seams)
    try:
        given: Any = {"method": "GET", "url": parsed(url), **more}
        return await client.send(Request(**given))
    finally:
        await client.close()


async def failure(url: str, **more: Any) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await sent(url, **more)
    return caught.value


@pytest.mark.promise("P26")
async def test_loopback_is_refused_unless_it_is_allowed() -> None:
    async with web(lambda _: as_json("here")) as server:
        error = await failure(server.url("/a?key=hidden"), settings=None)
        assert isinstance(error, AddressRefusedError)
        assert "hidden" not in str(error)
        assert server.asked == []
        assert (await sent(server.url("/"))).json() == "here"


@pytest.mark.promise("P26")
@pytest.mark.fault("F6")
async def test_a_name_that_changes_its_address_is_asked_for_it_once_for_each_connection() -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    async with web(lambda _: as_json("here")) as server:
        url = f"http://rebind.example:{server.port}/"
        # The first answer is allowed and used; the name is not resolved again behind the guard's back.
        assert (await sent(url, resolver=rebinding)).json() == "here"
        assert asked == ["rebind.example"]
        assert server.asked[0].headers["host"] == f"rebind.example:{server.port}"
        error = await failure(url, resolver=rebinding)
        assert isinstance(error, AddressRefusedError)
        assert "127.0.0.2" in str(error)
        assert len(server.asked) == 1


@pytest.mark.promise("P26")
@pytest.mark.fault("F6")
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://127.0.0.3/", "file:///etc/passwd", "http://u:p@127.0.0.1/"]
)
async def test_a_redirect_to_where_no_request_may_go_is_refused(target: str) -> None:
    async with web(lambda _: Answer(302, headers={"Location": target})) as server:
        assert isinstance(await failure(server.url()), AddressRefusedError)


@pytest.mark.fault("F6")
async def test_redirects_end() -> None:
    async with web(lambda asked: Answer(302, headers={"Location": f"{asked.path}x"})) as server:
        error = await failure(server.url("/"))
        assert error.reason == "redirect"
        assert len(server.asked) == 6


@pytest.mark.promise("P26")
@pytest.mark.fault("F6")
async def test_proxies_of_the_environment_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with web(lambda _: as_json("here")) as server:
        assert (await sent(server.url())).json() == "here"


async def test_a_proxy_that_is_set_is_used_and_gets_no_inner_address() -> None:
    async with web(lambda asked: as_json(asked.target)) as proxy:
        settings = HttpSettings(proxy=proxy.url().rstrip("/"))
        assert (await sent("http://a.example/x", settings=settings)).json() == "http://a.example/x"
        assert isinstance(await failure("http://169.254.169.254/", settings=settings), AddressRefusedError)


@pytest.mark.parametrize("proxy", ["nonsense", "ftp://u:canary@a.example", "http://[::"])
async def test_a_proxy_that_is_none_is_said_without_it(proxy: str) -> None:
    with pytest.raises(SettingsError, match="CABLEWAY_HTTP_PROXY") as caught:
        await sent("http://a.example/", settings=HttpSettings(proxy=proxy))
    assert "canary" not in str(caught.value)


@pytest.mark.fault("F7")
@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_a_redirected_post_becomes_what_the_standard_says(status: int, method: str) -> None:
    def answering(asked: Asked) -> Answer:
        return Answer(status, headers={"Location": "/b"}) if asked.path == "/a" else as_json("there")

    async with web(answering) as server:
        await sent(server.url("/a"), method="POST", body=b"{}", headers={"Content-Type": "application/json"})
        last = server.asked[-1]
        assert (last.method, last.body) == (method, b"{}" if method == "POST" else b"")
        assert ("content-type" in last.headers) is (method == "POST")


async def test_another_origin_gets_neither_credentials_nor_body() -> None:
    async with web(lambda _: as_json("there")) as other:

        def answering(asked: Asked) -> Answer:
            return Answer(307, headers={"Location": other.url("/there")})

        async with web(answering) as server:
            headers = {"Authorization": "Bearer hidden", "X-Key": "hidden", "Accept": "text/plain"}
            await sent(server.url(), headers=headers)
            assert other.asked[0].headers["accept"] == "text/plain"
            assert "hidden" not in str(other.asked[0])
            error = await failure(server.url(), method="POST", body=b"x")
            assert error.reason == "redirect"
            assert len(other.asked) == 1


def raw(*pieces: bytes, hold: asyncio.Event | None = None, after_s: float = 0) -> Answer:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        while after_s:
            yield b"x"
            await asyncio.sleep(after_s)
        if hold is not None:
            await hold.wait()

    return Answer(raw=stream())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_silence_ends_after_its_time() -> None:
    async with web(lambda _: raw(HEAD, hold=asyncio.Event())) as server:
        error = await failure(server.url(), options={"idle_s": 0.05})
        assert (error.reason, str(error)) == ("timeout", f"GET {server.url()}: nothing came for 0.05 s")


@pytest.mark.fault("F7")
async def test_a_body_that_trickles_ends_after_its_time() -> None:
    async with web(lambda _: raw(HEAD, after_s=0.01)) as server:
        error = await failure(server.url(), options={"timeout_s": 0.1})
        assert (error.reason, error.message) == ("timeout", "took longer than 0.1 s")


@pytest.mark.fault("F7")
async def test_a_body_without_end_is_given_up_on() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield ENDLESS
        while True:
            yield b"10000\r\n" + b"x" * 65536 + b"\r\n"

    async with web(lambda _: Answer(raw=endless())) as server:
        assert (await failure(server.url(), options={"max_bytes": 1_000_000})).reason == "too_large"


@pytest.mark.fault("F7")
async def test_a_bomb_is_given_up_on() -> None:
    bomb = gzip.compress(b"\0" * (1 << 24))
    async with web(lambda _: Answer(200, bomb, {"Content-Encoding": "gzip"})) as server:
        assert (await failure(server.url(), options={"max_bytes": 1_000_000})).reason == "too_large"


@pytest.mark.fault("F7")
async def test_a_body_shorter_than_it_says_is_no_answer() -> None:
    async with web(lambda _: raw(HEAD, b"{}")) as server:
        assert (await failure(server.url())).reason == "length"


NO_HTTP = [
    b"nonsense\r\n\r\n",
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
]


@pytest.mark.parametrize("answer", NO_HTTP)
async def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    async with web(lambda _: raw(answer)) as server:
        assert (await failure(server.url())).reason == "length"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nall \r\n5\r\nof it\r\n0\r\nMore: 1\r\n\r\n",
    ],
)
async def test_an_answer_is_read_in_whatever_form_it_comes(answer: bytes) -> None:
    async with web(lambda _: raw(answer)) as server:
        assert (await sent(server.url())).body == b"all of it"


async def test_an_answer_before_the_request_was_read_is_an_answer() -> None:
    gone = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            await writer.drain()
            writer.write_eof()
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(f"http://127.0.0.1:{port}/", method="POST", body=b"x" * 5_000_000)
        await asyncio.wait_for(gone.wait(), 10)
    assert (error.reason, error.http_status) == ("status", 413)


async def test_nobody_there_is_said() -> None:
    async with web(lambda _: Answer()) as server:
        url = server.url()
    error = await failure(url)
    assert (error.reason, error.place) == ("connect", f"GET {url}")


async def test_a_host_without_an_address_is_said() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    assert "the host has no address" in str(await failure("http://nowhere.example/", resolver=nowhere))


def passing(server: list[Web], *first: Answer) -> Callable[[Asked], Answer]:
    def answering(_: Asked) -> Answer:
        count = len(server[0].asked)
        return first[count - 1] if count <= len(first) else as_json("at last")

    return answering


async def test_what_may_pass_is_sent_again() -> None:
    holder: list[Web] = []
    async with web(passing(holder, Answer(503), Answer(429, headers={"Retry-After": "0"}), raw(b""))) as server:
        holder.append(server)
        assert (await sent(server.url(), options={"attempts": 4})).json() == "at last"
        assert len(server.asked) == 4


@pytest.mark.fault("F7")
async def test_a_server_that_asks_for_decades_gets_seconds() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with web(lambda _: Answer(429, headers={"Retry-After": "1000000000"})) as server:
        client = Client(HttpOptions(attempts=3, max_wait_s=60), HERE, sleep=sleep)
        with pytest.raises(HttpError, match=r"answered 429 and asks to wait 1e\+09 s") as caught:
            await client.send(Request(method="GET", url=parsed(server.url())))
        await client.close()
    assert waited == [60, 60]
    assert (caught.value.http_status, caught.value.retry_after_s) == (429, 1e9)


async def test_a_post_that_may_have_worked_is_not_sent_again() -> None:
    async with web(lambda _: Answer(500)) as server:
        await failure(server.url(), method="POST", body=b"x", options={"attempts": 4})
        assert len(server.asked) == 1


async def test_an_error_holds_neither_query_nor_body() -> None:
    async with web(lambda _: Answer(400, b"the key hidden is wrong")) as server:
        error = await failure(server.url("/x?key=hidden"), headers={"X-Key": "hidden"})
        assert str(error) == f"GET {server.url('/x')}: answered 400"
        assert "hidden" not in repr(error.problem())


async def test_tls_asks_for_the_name_while_the_address_is_the_one_that_was_vetted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | None] = []

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    def named(_: Any, name: str | None, __: Any) -> int:
        asked.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = named
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        assert (await failure(f"https://named.example:{port}/", resolver=here)).reason == "connect"
    finally:
        server.close()
    assert asked == ["named.example"]


def certified(folder: Path, name: str) -> Path:
    """A file with a certificate for *name*, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    path = folder / "certified.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def test_an_encrypted_answer_is_read_from_whom_it_should_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certified(tmp_path, "named.example")
    monkeypatch.setattr("cableway.blocs.http.client._tls", lambda: ssl.create_default_context(cafile=str(path)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    text = {"text": "x" * 1_000_000}
    async with web(lambda _: as_json(text), tls=context) as server:
        assert (await sent(f"https://named.example:{server.port}/", resolver=here)).json() == text
        error = await failure(f"https://other.example:{server.port}/", resolver=here)
        assert (error.reason, len(server.asked)) == ("connect", 1)
        assert "not valid for 'other.example'" in str(error)


async def test_a_large_request_is_sent_while_the_server_is_slow() -> None:
    body = b"x" * 5_000_000
    async with web(lambda asked: as_json(len(asked.body))) as server:
        assert (await sent(server.url(), method="POST", body=body)).json() == len(body)


async def test_a_connection_is_used_again_and_not_when_the_server_has_closed_it() -> None:
    closing = {"Connection": "close"}
    async with web(lambda asked: Answer(200, b"1", closing if asked.path == "/close" else {})) as server:
        client = Client(HttpOptions(attempts=1), HERE)
        for path in ("/", "/", "/close", "/"):
            await client.send(Request(method="GET", url=parsed(server.url(path))))
        await client.close()
    assert (len(server.asked), server.connections) == (4, 2)
