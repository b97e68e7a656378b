"""``api_loader``: the records of a web API, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from annotated_types import Ge, Le, MinLen

from cableway.blocs.http.options import Auth, HttpOptions, as_config, auth_faults, header_faults, url_faults
from cableway.blocs.http.pagination import Pagination, pagination_faults
from cableway.blocs.http.paths import path_fault
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.incremental import Incremental, Watermark, first_plan
from cableway.blocs.kinds import LoaderBloc
from cableway.context import RunContext
from cableway.definition import JsonObject
from cableway.errors import CredentialsError, HttpError

if TYPE_CHECKING:
    from cableway.blocs.http.message import Request
    from cableway.blocs.http.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLoaderConfig:
    """What to ask whom, and how it answers."""

    url: Annotated[str, MinLen(1)]
    """The address that is asked first."""
    method: Literal["GET", "POST", "PUT"] = "GET"
    """How it is asked. A loader only reads, so whatever the method it asks again after a failure."""
    params: dict[str, str | int | float | bool | list[str | int | float]] = field(
        default_factory=dict[str, str | int | float | bool | list[str | int | float]]
    )
    """Parameters of the URL; a list gives one several times."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of every request."""
    json: dict[str, Any] | list[Any] | None = None
    """The body, sent as JSON."""
    auth: Auth | None = None
    """Who asks; unset: nobody in particular."""
    pagination: Pagination | None = None
    """How there is more; unset: one answer holds everything."""
    record_path: str | None = None
    """Where in an answer the records are, as `data.items`; unset: the answer is the list of them, or one record."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Records in an item; unset: one item holds all of them."""
    pages: bool = False
    """Makes each page an item, as large as the server makes it."""
    concurrency: Annotated[int, Ge(1), Le(100)] = 1
    """Pages by offset or page number that are asked for at once; they come in order all the same. Twice as many may
    be asked for before they are wanted, beyond the last one too where nothing says how many there are."""
    incremental: Incremental | None = None
    """Load only what is new since the last run, by a field that grows."""
    incremental_params: dict[str, str] = field(default_factory=dict[str, str])
    """Parameters that ask for it, with `{start}` and `{end}` in them: `{"updated_since": "{start}"}`."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How patient it is, and how much it takes."""


class ApiLoaderBloc(SpeakingBloc, LoaderBloc):
    """Gives lists of records. An API cannot be read again as it was, so positions are names and no place to start at.

    A record that is a JSON object is a row; others are given as they are.
    """

    bloc_type = "api_loader"
    summary = "Loads records from a web API, page by page."
    Config = ApiLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {
        "url": "https://api.example.com/v1/orders",
        "params": {"status": "paid"},
        "auth": {"type": "bearer", "token": "${secret:orders_token}"},
        "record_path": "data",
        "pagination": {"type": "cursor", "next_path": "meta.next", "param": "after"},
        "pages": True,
    }

    config: ApiLoaderConfig

    def __init__(self, name: str, config: ApiLoaderConfig) -> None:
        super().__init__(name, config)
        self._incremental = as_config(Incremental, config.incremental)
        self._watermark: Watermark | None = None
        # Which of both it is decides whether the flow awaits it or goes through it.
        self.__dict__["load"] = self._items if self.batched else self._whole

    @classmethod
    def faults(cls, config: ApiLoaderConfig) -> Iterable[tuple[str, str]]:
        """What cannot be asked for, and what does not go together."""
        yield from url_faults("url", config.url)
        yield from header_faults(config.headers)
        yield from auth_faults(config.auth)
        yield from pagination_faults(config.pagination, config.concurrency)
        if config.record_path is not None and (reason := path_fault(config.record_path, one=False)):
            yield "record_path", reason
        if config.pages and config.batch_size is not None:
            yield "pages", "and batch_size cannot both say what an item is"
        if config.method == "GET" and config.json is not None:
            yield "json", "is a body, and GET has none; set method to POST"
        if config.pagination is not None and config.pagination.place == "body" and isinstance(config.json, list):
            yield "pagination/place", "needs 'json' to be an object"
        if config.incremental is not None:
            yield from config.incremental.faults()
            if not config.pages and config.batch_size is None:
                yield "incremental", "needs the records in items: set `pages: true`, or batch_size"

    @classmethod
    def keeps_cursor(cls, config: ApiLoaderConfig) -> bool:
        """With ``incremental`` and without an end."""
        incremental = as_config(Incremental, config.incremental)
        return incremental is not None and incremental.end_value is None

    @property
    def batched(self) -> bool:
        """With ``batch_size`` or ``pages``."""
        return self.config.pages or self.config.batch_size is not None

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """Where an incremental lap starts."""
        return first_plan(self._incremental, state) if self._incremental is not None else {}

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """Go on from there."""
        if self._incremental is not None:
            self._watermark = Watermark(self._incremental, plan, reached)

    def reached(self) -> JsonObject:
        """The highest value so far."""
        return self._watermark.state() if self._watermark is not None else {}

    async def _whole(self, context: RunContext) -> list[Any]:
        """All records. Raise `HttpError`, or `CredentialsError` where the server refuses who we are."""
        async with aclosing(self._pages()) as pages:
            return [record async for _, records in pages for record in records]

    async def _items(self, context: RunContext) -> AsyncGenerator[tuple[str, Any]]:
        size = self.config.batch_size
        held: list[Any] = []
        first = 0
        # Closed here, for a reader that stops early leaves requests on their way.
        async with aclosing(self._pages()) as pages:
            async for position, records in pages:
                if size is None and records:
                    yield position, records
                elif size is not None:
                    held += records
                    while len(held) >= size:
                        yield str(first), held[:size]
                        held = held[size:]
                        first += size
        if held:
            yield str(first), held

    async def _pages(self) -> AsyncGenerator[tuple[str, list[Any]]]:
        watermark = self._started()
        try:
            async with aclosing(self._source(watermark).read()) as pages:
                async for position, page in pages:
                    records = list(page.records)
                    if watermark is not None:
                        records = cast("list[Any]", watermark.new_rows(self._rows(records, page.reply.place)))
                    yield position, records
                    if watermark is not None and watermark.exhausted:
                        return
        except HttpError as error:
            if error.http_status in {401, 403}:
                raise CredentialsError(f"loader {self.name!r}: {error}; check 'auth' and its secret") from None
            raise

    def _started(self) -> Watermark | None:
        if self._incremental is not None and self._watermark is None:
            self._watermark = Watermark(self._incremental, first_plan(self._incremental, {}), {})
        return self._watermark

    def _rows(self, records: Sequence[Any], place: str) -> list[Mapping[str, Any]]:
        if all(isinstance(record, Mapping) for record in records):
            return cast("list[Mapping[str, Any]]", records)
        raise HttpError("a record is no object, so it has no cursor field", place=place, reason="content")

    def _source(self, watermark: Watermark | None) -> Pages:
        from cableway.blocs.http.pages import Pages

        config = self.config
        return Pages(
            self.client,
            self._first_request(watermark),
            pagination=as_config(Pagination, config.pagination),
            json=config.json,
            record_path=config.record_path,
            concurrency=config.concurrency,
        )

    def _first_request(self, watermark: Watermark | None) -> Request:
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        config = self.config
        params: dict[str, Any] = {**config.params, **self._asked_for(watermark)}
        url = parsed(config.url)
        headers = {"Accept": "application/json", **config.headers}
        if config.json is not None:
            headers = {"Content-Type": "application/json", **headers}
        return Request(
            method=config.method,
            url=url.copy_merge_params(params) if params else url,
            headers=headers,
            body=None if config.json is None else json_body(config.json),
            repeatable=True,
        )

    def _asked_for(self, watermark: Watermark | None) -> dict[str, str]:
        """The parameters that ask for what is new; one whose value is not known yet is left out."""
        known = {} if watermark is None else {"{start}": watermark.start, "{end}": watermark.end}
        asked: dict[str, str] = {}
        for name, template in self.config.incremental_params.items():
            text = template
            for mark, value in known.items():
                if value is not None:
                    text = text.replace(mark, _written(value))
            if "{start}" not in text and "{end}" not in text:
                asked[name] = text
        return asked


def _written(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
