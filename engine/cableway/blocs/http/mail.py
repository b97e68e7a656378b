"""Mail by SMTP, to a server whose address was judged as those of requests are."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen

from cableway.aside import aside
from cableway.blocs.http.addresses import AddressGuard
from cableway.errors import CredentialsError, HttpError

_SOCKET_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """A server that takes mail."""

    host: Annotated[str, MinLen(1)]
    """Its name."""
    port: Annotated[int, Ge(1), Le(65535)] = 587
    """Its port."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """Encrypted after a greeting (port 587), from the first byte (465), or not at all."""
    username: str | None = None
    """Who sends; unset: nobody in particular."""
    password: str | None = None
    """The password, a reference to a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is sent to whom."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str

    def message(self) -> EmailMessage:
        """As it is sent. Raise `HttpError` where an address is none."""
        message = EmailMessage()
        try:
            message["From"], message["To"], message["Subject"] = self.sender, ", ".join(self.to), self.subject
        except (ValueError, IndexError):
            raise HttpError("an address of the mail is none", place="mail", reason="content") from None
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2].strip("> ") or "cableway")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text)
        return message


async def send_letter(letter: Letter, server: MailServer, allow: Sequence[str] = ()) -> None:
    """Hand *letter* to *server*. Raise `HttpError` saying why it was not taken, `CredentialsError` for the password."""
    from cableway.blocs.http.backend import resolve

    place = f"mail server {server.host}:{server.port}"
    try:
        found = await resolve(server.host, server.port)
    except (OSError, UnicodeError):
        raise HttpError("the host has no address", place=place, reason="connect") from None
    address = AddressGuard(allow).vet(server.host, found, place)[0]
    await aside(_hand_over, letter.message(), letter.to, server, address, place)


def _hand_over(message: EmailMessage, to: Sequence[str], server: MailServer, address: str, place: str) -> None:
    try:
        with _connected(server, address) as connection:
            if server.username is not None:
                connection.login(server.username, server.password or "")
            connection.send_message(message, to_addrs=list(to))
    except smtplib.SMTPAuthenticationError:
        raise CredentialsError(f"{place}: refused the user; check username and password") from None
    except smtplib.SMTPRecipientsRefused:
        raise HttpError("refused every recipient", place=place, reason="status") from None
    except smtplib.SMTPResponseException as error:
        raise HttpError(f"answered {error.smtp_code}", place=place, reason="status") from None
    except TimeoutError:
        raise HttpError(f"nothing came for {_SOCKET_S:g} s", place=place, reason="timeout") from None
    except (OSError, smtplib.SMTPException) as error:
        raise HttpError(
            f"the letter was not handed over: {type(error).__name__}", place=place, reason="connect"
        ) from None


def _connected(server: MailServer, address: str) -> smtplib.SMTP:
    """Connected to *address*, which was judged, while TLS asks for the server's own name."""
    tls = ssl.create_default_context()
    if server.tls == "tls":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(timeout=_SOCKET_S, context=tls)
    else:
        connection = smtplib.SMTP(timeout=_SOCKET_S)
    setattr(connection, "_host", server.host)  # noqa: B010 - smtplib knows no other way to tell name and address apart
    connection.connect(address, server.port)
    if server.tls == "starttls":
        connection.starttls(context=tls)
    return connection
