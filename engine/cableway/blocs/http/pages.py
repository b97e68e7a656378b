"""The pages of an API, one after the other, or several asked for ahead where each has a number."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from hashlib import blake2b
from typing import Any, cast

from cableway.blocs.http.ahead import Ahead
from cableway.blocs.http.client import Client
from cableway.blocs.http.message import Reply, Request
from cableway.blocs.http.pagination import NUMBERED, Linked, Numbered, Page, Pagination
from cableway.blocs.http.paths import JsonPath
from cableway.errors import HttpError


class Pages:
    """What *request* gives, and all that follows it by *pagination*; *json* is the body that it was made of."""

    def __init__(
        self,
        client: Client,
        request: Request,
        *,
        pagination: Pagination | None,
        json: Any,
        record_path: str | None,
        concurrency: int,
    ) -> None:
        self._client = client
        self._request = request
        self._how = pagination
        self._json = json
        self._path = JsonPath(record_path) if record_path is not None else None
        self._ahead = concurrency

    def read(self) -> AsyncGenerator[tuple[str, Page]]:
        """Pages in order, each with what the server calls it, or else its number from 0."""
        if self._how is None:
            return self._single()
        return self._numbered(self._how) if self._how.type in NUMBERED else self._linked(self._how)

    async def _single(self) -> AsyncGenerator[tuple[str, Page]]:
        yield "0", await self._page(self._request, "0")

    async def _linked(self, how: Pagination) -> AsyncGenerator[tuple[str, Page]]:
        links, request, number = Linked(how, self._request, self._json), self._request, 0
        while True:
            page = await self._page(request, str(number))
            following = links.next(page)
            yield str(number), page
            if following is None:
                return
            number += 1
            self._bound(how, number, page)
            request = following

    async def _numbered(self, how: Pagination) -> AsyncGenerator[tuple[str, Page]]:
        numbers = Numbered(how, self._request, self._json)
        page = await self._page(numbers.at(0), "0")
        many, number, last = numbers.pages(page), 0, b""
        end = many if many is not None else 1 if numbers.is_last(page) else how.max_pages

        async def ask(number: int) -> Reply:
            return await self._client.send(numbers.at(number), key=str(number))

        async with Ahead(ask, first=1, end=min(end, how.max_pages), most=self._ahead) as ahead:
            while True:
                last = self._digest(page, last)
                if page.records or number == 0:
                    yield str(numbers.position(number)), page
                number += 1
                if numbers.is_last(page) if many is None else number >= many:
                    return
                self._bound(how, number, page)
                try:
                    page = self._read(await ahead.take())
                except HttpError as error:
                    if error.http_status == 404:
                        # Some say so that there is no such page, which for the first one would be an error.
                        return
                    raise

    async def _page(self, request: Request, key: str) -> Page:
        return self._read(await self._client.send(request, key=key))

    def _read(self, reply: Reply) -> Page:
        document = reply.json() if reply.body.strip() else None
        return Page(reply, document, self._records(document, reply))

    def _records(self, document: Any, reply: Reply) -> Sequence[Any]:
        if self._path is not None:
            return _found(self._path, document, reply)
        if isinstance(document, list):
            return cast("list[Any]", document)
        if document is None:
            return []
        if self._how is not None and isinstance(document, dict):
            members = cast("dict[str, Any]", document)
            lists = ", ".join(name for name, member in members.items() if isinstance(member, list)) or "none"
            raise HttpError(
                f"a page is an object; say in record_path where its records are (members that are lists: {lists})",
                place=reply.place,
                reason="content",
            )
        return [document]

    def _digest(self, page: Page, last: bytes) -> bytes:
        """To tell it from the next one. A server that does not know the parameter gives one page for ever."""
        digest = blake2b(page.reply.body, digest_size=16).digest()
        if digest == last and page.records:
            raise HttpError(
                "two pages in a row are the same; check the pagination's param", place=page.reply.place, reason="loop"
            )
        return digest

    def _bound(self, how: Pagination, number: int, page: Page) -> None:
        if number >= how.max_pages:
            raise HttpError(
                f"there are more than {how.max_pages} pages; raise pagination.max_pages if that is so",
                place=page.reply.place,
                reason="loop",
            )


def _found(path: JsonPath, document: Any, reply: Reply) -> Sequence[Any]:
    found = path.all(document)
    if path.is_one:
        if not found:
            raise HttpError(
                f"there is nothing at {path} (record_path) in the answer", place=reply.place, reason="content"
            )
        if found[0] is None:
            return []
        return cast("list[Any]", found[0]) if isinstance(found[0], list) else found
    if found and all(isinstance(one, list) for one in found):
        return [record for one in found for record in one]
    return found
