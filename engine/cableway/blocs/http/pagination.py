"""How an API tells that there is more: by a link, a cursor, or page after page until there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode

from annotated_types import Ge, MinLen

from cableway.blocs.http.addresses import parsed
from cableway.blocs.http.message import Reply, Request, json_body
from cableway.blocs.http.paths import MISSING, JsonPath, path_fault
from cableway.blocs.http.redirects import same_origin
from cableway.errors import AddressRefusedError, HttpError

if TYPE_CHECKING:
    from httpx import URL

NUMBERED = frozenset({"offset", "page"})
"""The ways in which a page can be asked for without the one before it."""

_LINK_CHARS = 8192
_LINKS = ("next", "links.next", "_links.next.href", "links.next.href", "paging.next", "pagination.next", "meta.next")
_LINKS_BY_NAME = ("['@odata.nextLink']", "next_page_url", "nextLink", "next_url", "info.next")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pagination:
    """How the next page is asked for."""

    type: Literal["auto", "link_header", "json_link", "cursor", "offset", "page"]
    """By the Link header, a link or a cursor in the answer, an offset or a page number; `auto` looks for a link."""
    next_path: str | None = None
    """Of `json_link` and `cursor`: where in the answer the next link or cursor stands."""
    next_header: str | None = None
    """Of `cursor`: the header that holds the next cursor, in place of `next_path`."""
    param: Annotated[str, MinLen(1)] | None = None
    """The parameter for cursor, offset or page number; unset: `cursor`, `offset` or `page`."""
    place: Literal["query", "body"] = "query"
    """Where that parameter goes: into the URL, or into `json` (then `param` may be a path)."""
    start: Annotated[int, Ge(0)] | None = None
    """The first offset or page number; unset: offset 0, page 1."""
    size: Annotated[int, Ge(1)] | None = None
    """Records on a page. Needed for `offset`."""
    size_param: Annotated[str, MinLen(1)] | None = None
    """The parameter that asks for that size; unset: `limit` for `offset`, none for `page`."""
    total_path: str | None = None
    """Where the number of all records stands, so that no page beyond the last is asked for."""
    pages_path: str | None = None
    """Where the number of all pages stands, to the same end."""
    until: Literal["empty", "short"] = "empty"
    """What ends `offset` and `page` without a number: a page without records, or one with fewer than `size`."""
    max_pages: Annotated[int, Ge(1)] = 1_000_000
    """Pages beyond which the run fails, for then something asks in circles."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer with the records in it."""

    reply: Reply
    document: Any
    records: Sequence[Any]


def pagination_faults(pagination: Pagination | None, concurrency: int) -> Iterator[tuple[str, str]]:
    """What does not go together."""
    if concurrency > 1 and (pagination is None or pagination.type not in NUMBERED):
        yield "concurrency", "needs a pagination by offset or page; a link is known when its page has come"
    if pagination is not None:
        yield from _missing(pagination)
        yield from _paths(pagination)


def _missing(pagination: Pagination) -> Iterator[tuple[str, str]]:
    if pagination.type == "json_link" and pagination.next_path is None:
        yield "pagination/next_path", "is required for json_link"
    if pagination.type == "cursor" and (pagination.next_path is None) == (pagination.next_header is None):
        yield "pagination/next_path", "or next_header, one of both, is required for cursor"
    if pagination.size is None and (pagination.type == "offset" or pagination.until == "short"):
        yield "pagination/size", f"is required for {'offset' if pagination.type == 'offset' else 'until: short'}"


def _paths(pagination: Pagination) -> Iterator[tuple[str, str]]:
    for name in ("next_path", "total_path", "pages_path"):
        text = getattr(pagination, name)
        if text is not None and (reason := path_fault(text)):
            yield f"pagination/{name}", reason
    if pagination.place == "body":
        for name in ("param", "size_param"):
            text = getattr(pagination, name)
            if text is not None and (reason := path_fault(text, names=True)):
                yield f"pagination/{name}", reason


def with_parameter(request: Request, name: str, value: Any, place: str, json: Any) -> Request:
    """*request* with a parameter more, in its URL or in its body, which is *json* so far."""
    if place == "query":
        return replace(request, url=request.url.copy_set_param(name, value))
    return replace(request, body=json_body(JsonPath(name).placed(json, value)))


class Numbered:
    """Pages that can be asked for by number: *number* counts from 0 here, whatever the server counts from."""

    def __init__(self, pagination: Pagination, request: Request, json: Any) -> None:
        self._how = pagination
        self._request = request
        self._json = json
        by_offset = pagination.type == "offset"
        self._param = pagination.param or pagination.type
        self._size_param = pagination.size_param or ("limit" if by_offset else None)
        self._step = (pagination.size or 1) if by_offset else 1
        self._start = pagination.start if pagination.start is not None else (0 if by_offset else 1)
        if pagination.place == "query":
            url = request.url
            for name in dict(self._pairs(0)):
                url = url.copy_remove_param(name)
            self._request = replace(request, url=url)

    @property
    def counted(self) -> bool:
        """Whether the first page says how many there are."""
        return self._how.total_path is not None or self._how.pages_path is not None

    def position(self, number: int) -> int:
        """What the server calls page *number*."""
        return self._start + number * self._step

    def at(self, number: int) -> Request:
        """The request for page *number*."""
        request, json = self._request, self._json
        if self._how.place == "query":
            return replace(request, query=urlencode(self._pairs(number)).encode("ascii"))
        for name, value in self._pairs(number):
            json = JsonPath(name).placed(json, value)
        return replace(request, body=json_body(json))

    def _pairs(self, number: int) -> list[tuple[str, int]]:
        pairs = [(self._param, self.position(number))]
        if self._size_param is not None and self._how.size is not None:
            pairs.append((self._size_param, self._how.size))
        return pairs

    def pages(self, page: Page) -> int | None:
        """How many pages there are by what the first *page* says; None where it does not."""
        pages = _whole(self._how.pages_path, page.document)
        if pages is not None:
            return pages
        total, size = _whole(self._how.total_path, page.document), self._how.size or len(page.records)
        if total is None or not size:
            return None
        skipped = self._start if self._how.type == "offset" else 0
        return -(-max(0, total - skipped) // size)

    def is_last(self, page: Page) -> bool:
        """Whether what *page* holds says that there is no other."""
        if self._how.until == "short" and self._how.size is not None:
            return len(page.records) < self._how.size
        return not page.records


class Linked:
    """Pages of which each says where the next is. The same link or cursor twice raises `HttpError` (``loop``)."""

    def __init__(self, pagination: Pagination, request: Request, json: Any) -> None:
        self._how = pagination
        self._request = request
        self._json = json
        self._seen: set[int] = set()

    def next(self, page: Page) -> Request | None:
        """The request for what follows *page*; None where nothing does."""
        how, request = self._how, self._request
        if how.type == "cursor":
            token = page.reply.headers.get(how.next_header.lower()) if how.next_header else _at(how.next_path, page)
            if token is None or token == "" or token is False:
                return None
            if not isinstance(token, str | int):
                raise self._bad(page, "the cursor is neither text nor a number")
            self._once(str(token), page)
            return with_parameter(request, how.param or "cursor", token, how.place, self._json)
        link = self._link(page)
        if link is None or link == "":
            return None
        if not isinstance(link, str):
            raise self._bad(page, "the next link is no text")
        self._once(link, page)
        return replace(request, url=self._vetted(link, page))

    def _link(self, page: Page) -> Any:
        match self._how.type:
            case "link_header":
                return header_link(page.reply.headers)
            case "json_link":
                return _at(self._how.next_path, page)
            case _:
                return header_link(page.reply.headers) or _usual_link(page)

    def _vetted(self, link: str, page: Page) -> URL:
        """Links stay with the origin that the credentials are for; one that forgot its https gets it back."""
        asked = self._request.url
        try:
            url = parsed(str(page.reply.url.join(link)))
        except AddressRefusedError as error:
            raise self._bad(page, f"the next link {error.message}") from None
        except ValueError:
            raise self._bad(page, "the next link is no URL") from None
        if asked.scheme == "https" and url.scheme == "http" and url.port is None:
            url = url.copy_with(scheme="https")
        if not same_origin(asked, url):
            raise self._bad(page, f"the next link leads to {url.scheme}://{url.netloc.decode('ascii', 'replace')}")
        return url

    def _once(self, text: str, page: Page) -> None:
        digest = hash(text)
        if digest in self._seen:
            raise HttpError("the next page is one that has been read", place=page.reply.place, reason="loop")
        self._seen.add(digest)

    def _bad(self, page: Page, message: str) -> HttpError:
        return HttpError(message, place=page.reply.place, reason="content")


def header_link(headers: Mapping[str, str], rel: str = "next") -> str | None:
    """The target of the Link header's *rel* (RFC 8288); None where there is none."""
    text = re.sub(r"\s+", " ", headers.get("link", "")[:_LINK_CHARS])
    for target, parameters in re.findall(r"<([^<>]*)>((?:\s*;\s*[^,;=]+(?:=(?:\"[^\"]*\"|[^,;\"]*))?)*)", text):
        for name, value in re.findall(r";\s*([^,;=\s]+)\s*=\s*(\"[^\"]*\"|[^,;\"\s]*)", parameters):
            if name.lower() == "rel" and rel in value.strip('"').lower().split():
                return str(target)
    return None


def _usual_link(page: Page) -> str | None:
    """A link in one of the places where many APIs put it."""
    for path in (*_LINKS, *_LINKS_BY_NAME):
        found = JsonPath(path).one(page.document)
        if isinstance(found, str) and found.startswith(("http://", "https://", "/", "?")):
            return found
    return None


def _at(path: str | None, page: Page) -> Any:
    found = JsonPath(path or "$").one(page.document)
    return None if found is MISSING else found


def _whole(path: str | None, document: Any) -> int | None:
    found = JsonPath(path).one(document) if path is not None else None
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
