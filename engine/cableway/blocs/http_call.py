"""``http_call``: asks a web service about each row, and puts the answer beside it or in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from annotated_types import Ge, Le, MinLen

from cableway.blocs.http.options import Auth, HttpOptions, auth_faults, header_faults, url_faults
from cableway.blocs.http.paths import MISSING, JsonPath, path_fault
from cableway.blocs.http.rows import input_rows
from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.http.templates import (
    filled_header,
    filled_json,
    filled_text,
    filled_url,
    template_fault,
    templates_in,
    url_template_fault,
)
from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext
from cableway.errors import HttpError
from cableway.references import is_reference

if TYPE_CHECKING:
    from cableway.blocs.http.message import Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCallConfig:
    """What to ask about a row, and what becomes of the answer. `{column}` stands for a value of the row."""

    url: Annotated[str, MinLen(1)]
    """The address; values take places in path and query, escaped."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    """How it is asked."""
    params: dict[str, str] = field(default_factory=dict[str, str])
    """Parameters of the URL."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers of every request."""
    json: dict[str, Any] | list[Any] | None = None
    """The body, sent as JSON; a text that is one place, as `"{amount}"`, takes the value's own type."""
    each: Literal["row", "item"] = "row"
    """One request for each row, or one for an item, in which `{rows}` are its rows."""
    result: Literal["join", "replace"] = "join"
    """The answer becomes a column of the row, or takes the row's place."""
    into: Annotated[str, MinLen(1)] = "response"
    """Of `join`: the column."""
    result_path: str | None = None
    """Where in the answer the result is; unset: all of the answer."""
    not_found: Literal["fail", "null"] = "fail"
    """What 404 means: a failure, or that there is nothing (null)."""
    repeatable: bool | None = None
    """Whether asking twice does no more than asking once; unset: as the method says, so not with POST and PATCH."""
    concurrency: Annotated[int, Ge(1), Le(100)] = 4
    """Rows of an item that are asked about at once."""
    auth: Auth | None = None
    """Who asks; unset: nobody in particular."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How patient it is, and how much it takes."""
    source_bloc: str | None = None
    """The bloc whose rows are asked about; unset: the one of the previous stage."""


class HttpCallBloc(SpeakingBloc, TransformerBloc):
    """Gives a list of rows in the order of the input. One request that fails for good fails the item."""

    bloc_type = "http_call"
    summary = "Asks a web service about each row, and keeps the answer."
    Config = HttpCallConfig
    example: ClassVar[Mapping[str, Any]] = {
        "url": "https://api.example.com/customers/{customer_id}",
        "auth": {"type": "api_key", "key": "${secret:customers_key}"},
        "into": "customer",
        "not_found": "null",
    }

    config: HttpCallConfig

    @classmethod
    def faults(cls, config: HttpCallConfig) -> Iterable[tuple[str, str]]:
        """Templates that are none, and what cannot be asked for."""
        if not is_reference(config.url):
            if reason := url_template_fault(config.url):
                yield "url", reason
            else:
                yield from url_faults("url", config.url.replace("{", "").replace("}", ""))
        yield from header_faults(config.headers)
        yield from auth_faults(config.auth)
        for name in ("params", "headers", "json"):
            for text in templates_in(getattr(config, name)):
                if not is_reference(text) and (reason := template_fault(text)):
                    yield name, reason
        if config.result_path is not None and (reason := path_fault(config.result_path, one=False)):
            yield "result_path", reason
        if config.method == "GET" and config.json is not None:
            yield "json", "is a body, and GET has none; set method to POST"

    async def transform(self, context: RunContext) -> list[Any]:
        """The rows with their answers. Raise `HttpError` or `RowError` for one that has none."""
        rows = input_rows(context, f"bloc {self.name!r}")
        if self.config.each == "item":
            rows = [{"rows": rows}]
        turn = asyncio.Semaphore(self.config.concurrency)

        async def answered(number: int, row: Mapping[str, Any]) -> Any:
            async with turn:
                return await self._answer(row, number, context.item_id)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(answered(number, row)) for number, row in enumerate(rows)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return self._results(rows, [task.result() for task in tasks])

    async def _answer(self, row: Mapping[str, Any], number: int, item_id: str) -> Any:
        request = self._request(row, f"bloc {self.name!r}, row {number + 1}")
        try:
            reply = await self.client.send(request, key=f"{item_id}/{number}")
        except HttpError as error:
            if error.http_status == 404 and self.config.not_found == "null":
                return None
            raise
        return self._result(reply)

    def _request(self, row: Mapping[str, Any], where: str) -> Request:
        from cableway.blocs.http.addresses import parsed
        from cableway.blocs.http.message import Request, json_body

        config = self.config
        url = parsed(filled_url(config.url, row, where))
        params = {name: filled_text(text, row, where) for name, text in config.params.items()}
        headers = {name: filled_header(text, row, where) for name, text in config.headers.items()}
        headers = {"Accept": "application/json", **headers}
        body = None
        if config.json is not None:
            headers = {"Content-Type": "application/json", **headers}
            body = json_body(filled_json(config.json, row, where))
        return Request(
            method=config.method,
            url=url.copy_merge_params(params) if params else url,
            headers=headers,
            body=body,
            repeatable=config.repeatable,
        )

    def _result(self, reply: Reply) -> Any:
        value = reply.json() if reply.body.strip() else None
        if self.config.result_path is None or value is None:
            return value
        path = JsonPath(self.config.result_path)
        found = path.one(value) if path.is_one else path.all(value)
        if found is MISSING:
            raise HttpError(f"there is nothing at {path} (result_path)", place=reply.place, reason="content")
        return found

    def _results(self, rows: list[dict[str, Any]], answers: list[Any]) -> list[Any]:
        config = self.config
        if config.result == "join" and config.each == "row":
            return [{**row, config.into: answer} for row, answer in zip(rows, answers, strict=True)]
        if config.result == "join":
            return [{**row, config.into: answers[0]} for row in rows[0]["rows"]]
        flat: list[Any] = []
        for answer in answers:
            if isinstance(answer, list):
                flat += cast("list[Any]", answer)
            elif answer is not None:
                flat.append(answer)
        return flat
