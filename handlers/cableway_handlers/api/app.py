"""The API as one ASGI application: the hook route beside FastAPI, and the Host header checked before both meet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cableway.errors import CablewayError, Fault, UnavailableError
from cableway_handlers.api.asgi import (
    PROBLEM,
    Application,
    Receive,
    Scope,
    Send,
    header,
    problem_body,
    problem_headers,
    send_problem,
)
from cableway_handlers.api.hooks import PREFIX, HookRoute, Limits, Register
from cableway_handlers.api.hosts import check_host
from cableway_handlers.api.problems import InvalidRequestError, MethodError, NotFoundError, RequestError
from cableway_handlers.launch.protocol import Launch

_log = logging.getLogger("cableway.api")


class Desk(Register, Protocol):
    """All that the API asks of the database. Each raises `UnavailableError` while Postgres is away."""

    async def find_run(self, run_id: str) -> Mapping[str, Any]:
        """The run as it stands. Raise `UnknownRunError` if there is none with this id."""
        ...

    async def check(self) -> None:
        """Return if the database answers and its schema is this version's."""
        ...

    async def open(self) -> None:
        """Connect in the background; the database need not be there yet."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Launches(Protocol):
    """Where the API leaves launches."""

    def add(self, launch: Launch) -> bool:
        """Launch soon, without blocking."""
        ...

    def close(self) -> None:
        """Finish the launches under way; may block."""
        ...


def create_app(
    desk: Desk, launches: Launches, *, environment: Mapping[str, str], limits: Limits | None = None
) -> Application:
    """The application that a server runs, its lifespan included.

    *environment* is where the hooks' secrets are looked up, at each request.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await desk.open()
        try:
            yield
        finally:
            await asyncio.to_thread(launches.close)
            await desk.close()

    app = FastAPI(title="Cableway", lifespan=lifespan, redirect_slashes=False)
    app.state.desk = desk
    app.include_router(_router)
    for kind in (CablewayError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _on_error)
    hooks = HookRoute(register=desk, launch=launches.add, environment=environment, limits=limits or Limits())
    return _Front(app, hooks)


@dataclass(frozen=True, slots=True)
class _Front:
    """Hooks are signed and may come through any proxy; all else answers to the loopback's names alone."""

    app: Application
    hooks: HookRoute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"].startswith(PREFIX):
                return await self.hooks(scope, receive, send)
            try:
                check_host(header(scope, b"host"))
            except RequestError as error:
                return await send_problem(send, error)
        return await self.app(scope, receive, send)


_router = APIRouter()


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


TheDesk = Annotated[Desk, Depends(_desk)]


@_router.get("/healthz", summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    """Return at once, whatever else is down."""
    return {"status": "up"}


@_router.get("/readyz", summary="Whether it can work")
async def readyz(desk: TheDesk) -> JSONResponse:
    """Answer 503 until the database is there with the schema of this version."""
    state = await _state(desk)
    return JSONResponse({"status": state}, 200 if state == "up" else 503)


@_router.get("/health", summary="Which part is up and which is down")
async def health(desk: TheDesk) -> JSONResponse:
    """Answer 503 if a part is down."""
    state = await _state(desk)
    return JSONResponse({"status": state, "database": state}, 200 if state == "up" else 503)


@_router.get("/runs/{run_id}", summary="A run as it stands")
async def run(run_id: str, desk: TheDesk) -> dict[str, Any]:
    """Return the run's row; its error is a problem without input values."""
    return dict(await desk.find_run(run_id))


async def _state(desk: Desk) -> Literal["up", "down"]:
    try:
        await desk.check()
    except CablewayError as error:
        _log.warning("not ready: %s", error)
        return "down"
    return "up"


async def _on_error(_: Request, error: Exception) -> JSONResponse:
    match error:
        case CablewayError():
            return _problem(error)
        case HTTPException():
            known: dict[int, Callable[[str], RequestError]] = {404: NotFoundError, 405: MethodError}
            return _problem(known.get(error.status_code, RequestError)(error.detail), error.headers)
        case RequestValidationError():
            return _problem(InvalidRequestError(_fault(found) for found in error.errors()))
        case _:
            _log.error("a request failed", exc_info=error)
            return _problem(CablewayError())


def _fault(found: Mapping[str, Any]) -> Fault:
    """What pydantic found, without the value in which it was found."""
    return Fault("/" + "/".join(str(step) for step in found["loc"]), found["type"], found["msg"])


def _problem(error: CablewayError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    if isinstance(error, UnavailableError):
        _log.warning("a request was answered 503: %s", error)
    fields = {**problem_headers(error), **(headers or {})}
    return JSONResponse(problem_body(error), error.status, fields, media_type=PROBLEM)
