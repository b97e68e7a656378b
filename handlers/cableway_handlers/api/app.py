"""The API as one ASGI application: the gate, the hook route beside FastAPI, and the resources behind both."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from cableway.catalog import Catalog
from cableway.errors import CablewayError, Fault, UnavailableError
from cableway.secret_sources import SecretSources
from cableway.settings import read_settings
from cableway_handlers.api import openapi, reference_page
from cableway_handlers.api.access import Gate, signed_in
from cableway_handlers.api.asgi import (
    PROBLEM,
    REQUEST_ID,
    Application,
    ClientGoneError,
    problem_body,
    problem_headers,
)
from cableway_handlers.api.front import Front
from cableway_handlers.api.hooks import HookRoute, Limits
from cableway_handlers.api.hooks.secrets import HookSecrets
from cableway_handlers.api.problems import InvalidRequestError, MethodError, NotFoundError, RequestError
from cableway_handlers.api.rates import Rates
from cableway_handlers.api.resources import (
    bloc_types,
    blocs,
    dead_letters,
    deliveries,
    health,
    hooks,
    limits,
    pipelines,
    replays,
    runs,
    schedulers,
    triggers,
)
from cableway_handlers.api.resources.desk import Desk, Launches, Office, PartState
from cableway_handlers.api.scopes import Caller

BURST_S = 4
"""Seconds of its rate that a caller may send at once."""

_log = logging.getLogger("cableway.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask, and how often."""

    closed: bool = False
    """A key is needed, whether there is one or not; else from the first key on."""
    rate_per_s: float | None = None
    """Requests a second that each caller may send, hooks aside. None: what the settings say."""
    burst: int | None = None
    """Requests that it may send at once. None: what it may send in some seconds."""


def create_app(
    desk: Desk,
    launches: Launches,
    *,
    environment: Mapping[str, str],
    limits: Limits | None = None,
    access: Access | None = None,
    catalog: Catalog | None = None,
    scheduler_state: Callable[[], PartState] = lambda: "off",
    leaving: Callable[[], bool] = lambda: False,
) -> Application:
    """The application that a server runs, its lifespan included.

    *environment* says where the hooks' secrets are looked up; *leaving* says that the process is
    about to end.
    """
    rules = access or Access()
    settings = read_settings(environment)
    rate_per_s = rules.rate_per_s or settings.api_rate_per_s
    gate = Gate(desk, Rates(rate_per_s, rules.burst or math.ceil(rate_per_s * BURST_S)), closed=rules.closed)
    office = Office(
        desk=desk,
        launches=launches,
        catalog=catalog or Catalog(),
        environment=environment,
        scheduler_state=scheduler_state,
    )
    app = create_resources(office, gate)
    usual = Limits(unsigned=settings.unsigned_hooks)
    secrets = HookSecrets(environment, SecretSources(settings.secrets, environment))
    route = HookRoute(register=desk.hooks, launch=launches.add, secrets=secrets, limits=limits or usual)
    return Front(app, route, gate, leaving)


def create_resources(office: Office, gate: Gate) -> FastAPI:
    """All that stands behind the gate. Raise `AssertionError` for a route that does not say who may use it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await office.desk.open()
        try:
            yield
        finally:
            await asyncio.to_thread(office.launches.close)
            await office.desk.close()

    app = FastAPI(
        title="Cableway",
        version=version("cableway"),
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.office, app.state.gate = office, gate
    app.state.routers = (*(resource.router for resource in _RESOURCES), _pages)
    for router in app.state.routers:
        app.include_router(router)
    for kind in (CablewayError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _on_error)
    unguarded = [route.path for route in openapi.api_routes(app) if not openapi.is_guarded(route)]
    if unguarded:
        raise AssertionError(f"nobody says who may use {', '.join(unguarded)}")
    return app


_RESOURCES = (
    blocs,
    pipelines,
    triggers,
    schedulers,
    runs,
    replays,
    dead_letters,
    hooks,
    deliveries,
    limits,
    bloc_types,
    health,
)

_pages = APIRouter(tags=["about"])
_SignedIn = Annotated[Caller, Depends(signed_in)]


@_pages.get("/", summary="Where things are", response_model=dict[str, str])
async def directory(caller: _SignedIn) -> dict[str, str]:
    """The addresses to begin with."""
    return {"docs": "/docs", "openapi": "/openapi.json", "health": "/health"}


@_pages.get("/openapi.json", summary="This description", response_model=dict[str, Any])
async def openapi_document(request: Request, caller: _SignedIn) -> JSONResponse:
    """The API as OpenAPI 3.1."""
    return JSONResponse(await _document(request))


@_pages.get("/docs", summary="The API for people", response_class=HTMLResponse)
async def docs(request: Request, caller: _SignedIn) -> HTMLResponse:
    """The same as a page that loads nothing from elsewhere."""
    return HTMLResponse(reference_page.page(await _document(request)), headers=reference_page.HEADERS)


async def _document(request: Request) -> dict[str, Any]:
    state = request.app.state
    closed = await state.gate.is_closed()
    kept: dict[bool, dict[str, Any]] = state.__dict__.setdefault("documents", {})
    if closed not in kept:
        kept[closed] = openapi.described(request.app, closed=closed)
    return kept[closed]


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case CablewayError():
            return _problem(request, error)
        case HTTPException():
            return _http_problem(request, error)
        case RequestValidationError():
            return _problem(request, InvalidRequestError(_fault(found) for found in error.errors()))
        case ClientGoneError():
            return Response(status_code=400)
        case _:
            _log.error("request %s failed", request.scope.get(REQUEST_ID), exc_info=error)
            return _problem(request, CablewayError())


def _http_problem(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return _problem(request, NotFoundError("There is no such address; /docs lists those that there are."))
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        return _problem(request, MethodError(f"This address takes {allowed}."), {"allow": allowed})
    return _problem(request, RequestError(error.detail))


def _methods(request: Request) -> set[str]:
    """What this address takes: of several routes, the framework would name the first one's."""
    here = (route for route in openapi.api_routes(request.app) if route.matches(request.scope)[0] != Match.NONE)
    return {method for route in here for method in route.methods or ()}


def _fault(found: Mapping[str, Any]) -> Fault:
    """What pydantic found, without the value in which it was found."""
    return Fault("/" + "/".join(str(step) for step in found["loc"]), found["type"], found["msg"])


def _problem(request: Request, error: CablewayError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    request_id = request.scope.get(REQUEST_ID)
    if isinstance(error, UnavailableError):
        _log.warning("request %s was answered 503: %s", request_id, error)
    fields = {**problem_headers(error), **(headers or {})}
    return JSONResponse(problem_body(error, request_id), error.status, fields, media_type=PROBLEM)
