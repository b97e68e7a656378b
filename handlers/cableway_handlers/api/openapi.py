"""
What the API says of itself: FastAPI's description, completed with what stands outside FastAPI.

Every answer that a route may give is listed: its problems follow from what it takes (a body, a path, a scope), and
from what it names itself by `refuses`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from cableway_handlers.api.access import BARE_PATHS, OPEN_PATHS, Needs, signed_in
from cableway_handlers.api.asgi import PROBLEM
from cableway_handlers.api.etags import if_match_needed

DESCRIPTION = """
Definitions, runs and what became of them. Errors are problems (RFC 9457); lists come in pages; what is changed
carries an ETag. `POST /hooks/{name}` takes webhooks and stands beside what is described here.
""".strip()

_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457, with what is wrong place by place where that is known.",
    "required": ["type", "title", "status", "detail", "retryable", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean"},
        "instance": {"type": "string", "format": "uri", "description": "The request, as the log has it."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "message"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON pointer."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "line": {"type": "integer"},
                },
            },
        },
    },
}


def refuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's ``responses`` for problems of its own."""
    return {status: _answer(status) for status in statuses}


def described(app: FastAPI, *, closed: bool) -> dict[str, Any]:
    """The OpenAPI document; *closed*: a key is needed."""
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
    )
    components: dict[str, Any] = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas["Problem"] = dict(_PROBLEM)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if closed:
        scheme = {"type": "http", "scheme": "bearer", "description": "As `cableway keys create` prints it."}
        components["securitySchemes"] = {"key": scheme}
    for route in api_routes(app):
        for method in route.methods or ():
            if operation := document["paths"].get(route.path, {}).get(method.lower()):
                _complete(operation, route, closed=closed)
    return document


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of *app*, out of its ``state.routers``: what it makes of them itself is its own matter."""
    for router in app.state.routers:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route} is no route of the API")
            yield route


def need_of(route: APIRoute) -> Needs | None:
    """The scope that *route* asks for; None where it asks for none."""
    return next((need for need in _calls(route.dependant) if isinstance(need, Needs)), None)


def is_guarded(route: APIRoute) -> bool:
    """Whether *route* says who may use it."""
    return route.path in OPEN_PATHS or any(
        isinstance(call, Needs) or call is signed_in for call in _calls(route.dependant)
    )


def _complete(operation: dict[str, Any], route: APIRoute, *, closed: bool) -> None:
    responses: dict[str, Any] = operation["responses"]
    if "schema" not in str(responses.get("422", {}).get("content", {}).get(PROBLEM, "")):
        responses.pop("422", None)
    for status in sorted(_statuses(route)):
        responses.setdefault(str(status), _answer(status))
    if route.body_field is None:
        operation.pop("requestBody", None)
    if if_match_needed in _calls(route.dependant):
        for parameter in operation["parameters"]:
            # It is asked for by a status of its own, 428, where it is missing.
            parameter["required"] |= parameter["name"] == "if-match"
    need = need_of(route)
    if need is not None:
        operation["x-cableway-scope"] = f"{need.verb}:{need.resource}"
    if closed and route.path not in OPEN_PATHS:
        # Without one a bare path tells less, and tells it all the same.
        operation["security"] = [{"key": []}, {}] if route.path in BARE_PATHS else [{"key": []}]


def _statuses(route: APIRoute) -> set[int]:
    """The problems that *route* may answer with, as they follow from what it takes."""
    if route.path in OPEN_PATHS | BARE_PATHS:
        return {400, 403, 429}
    statuses = {400, 401, 403, 429, 503}
    dependant = route.dependant
    if route.body_field is not None:
        statuses |= {408, 413, 415, 422}
    if route.param_convertors:
        statuses |= {404}
    if route.param_convertors or any(call.query_params or call.header_params for call in _tree(dependant)):
        statuses |= {422}
    need = need_of(route)
    if need is not None and need.verb != "read":
        statuses |= {404, 422}
    return statuses


def _answer(status: int) -> dict[str, Any]:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _calls(dependant: Dependant) -> Iterator[object]:
    for each in _tree(dependant):
        yield each.call


def _tree(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _tree(below)
