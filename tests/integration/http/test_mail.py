"""Mail, to a small server that speaks as much SMTP as it takes."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

import pytest

from cableway.blocs.kinds import Ending
from cableway.errors import AddressRefusedError, CredentialsError, HttpError
from cableway.redaction import guard
from cableway.settings import HttpSettings
from tests.integration.http.conftest import opened


@dataclass
class Postbox:
    """What came."""

    port: int = 0
    letters: list[bytes] = field(default_factory=list[bytes])
    commands: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def post_office(*, password: bytes | None = None, refuses: str = "") -> AsyncGenerator[Postbox]:
    box = Postbox()
    wanted = None if password is None else b64encode(b"\0ann\0" + password).decode()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        with suppress(ConnectionError):
            await say("220 here")
            while line := (await reader.readline()).decode().strip():
                box.commands.append(line)
                word = line.split()[0].upper()
                if refuses and line.startswith(refuses):
                    await say("550 no")
                elif word == "EHLO":
                    await say("250-here\r\n250 AUTH PLAIN" if wanted else "250 here")
                elif word == "AUTH":
                    await say("235 yes" if line.split()[-1] == wanted else "535 no")
                elif word == "DATA":
                    await say("354 go on")
                    box.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                    await say("250 taken")
                else:
                    await say("221 bye" if word == "QUIT" else "250 yes")
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()


async def told(box: Postbox, settings: HttpSettings | None = None, **mail: Any) -> None:
    config: dict[str, Any] = {
        "mail": {"host": "127.0.0.1", "port": box.port, "tls": "none", **mail},
        "to": ["ann@example.com", "bob@example.com"],
        "sender": "runs@example.com",
        "required": True,
        "text": "Grüße von {pipeline}: {outcome}",
    }
    here = settings or HttpSettings(allow=("127.0.0.1",))
    async with opened("notify", here, **config) as bloc:
        await bloc.close(Ending.FAILED)


async def test_mail_reaches_its_people() -> None:
    guard(["canary-password"])
    async with post_office(password=b"canary-password") as box:
        await told(box, username="ann", password="canary-password")
    letter: Any = message_from_bytes(box.letters[0].removesuffix(b".\r\n"), policy=policy.default)
    assert (letter["Subject"], letter["To"]) == ("p: failed", "ann@example.com, bob@example.com")
    assert letter.get_content().strip() == "Grüße von p: failed"
    assert [line.lower() for line in box.commands if line.startswith("rcpt")] == [
        "rcpt to:<ann@example.com>",
        "rcpt to:<bob@example.com>",
    ]


async def test_a_password_that_is_refused_is_said_and_not_shown() -> None:
    guard(["canary-password"])
    async with post_office(password=b"other") as box:
        with pytest.raises(CredentialsError, match="refused the user") as caught:
            await told(box, username="ann", password="canary-password")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("refuses", ["mail", "rcpt", "data"])
async def test_a_letter_that_is_not_taken_is_said(refuses: str) -> None:
    async with post_office(refuses=refuses) as box:
        with pytest.raises(HttpError, match=f"mail server 127.0.0.1:{box.port}: "):
            await told(box)


@pytest.mark.promise("P26")
async def test_a_mail_server_inside_is_refused_unless_it_is_allowed() -> None:
    async with post_office() as box:
        with pytest.raises(AddressRefusedError):
            await told(box, HttpSettings(allow=("10.0.0.0/8",)))
        assert box.commands == []
