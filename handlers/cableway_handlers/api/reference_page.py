"""The API's description as a page for people: plain HTML, made here, that loads nothing and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top; }
summary { cursor: pointer; padding: .35rem 0; } summary b { display: inline-block; min-width: 4.5rem; }
"""


def page(document: Mapping[str, Any]) -> str:
    """The OpenAPI *document* as HTML."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>',
            f"<h1>{title}</h1><p>{escape(document['info']['description'])}</p>",
            "<p>For programs: <a href='openapi.json'>openapi.json</a></p>",
            *_groups(document),
            "<h2>Schemas</h2>",
            *(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
            "</main></body></html>",
        ]
    )


def _groups(document: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    for name, operations in groups.items():
        yield f"<h2>{escape(name.capitalize())}</h2>{''.join(operations)}"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    scope = operation.get("x-cableway-scope")
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if scope:
        parts.append(f"<p>Scope: <code>{escape(scope)}</code></p>")
    if operation.get("parameters"):
        parts.append(_table(("parameter", "in", "meaning"), map(_parameter, operation["parameters"])))
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_content(operation['requestBody'])}</p>")
    answers = ((status, answer["description"], _content(answer)) for status, answer in operation["responses"].items())
    parts.append(_table(("status", "meaning", "body"), answers, raw=2))
    return f"<details><summary>{head}</summary>{''.join(parts)}</details>"


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str, str]:
    needed = " (required)" if parameter.get("required") else ""
    return parameter["name"] + needed, parameter["in"], parameter.get("description", "")


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]], raw: int = -1) -> str:
    cells = (
        "".join(f"<td>{cell if place == raw else escape(cell)}</td>" for place, cell in enumerate(row)) for row in rows
    )
    top = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in cells)}</tbody></table>"


def _content(holder: Mapping[str, Any]) -> str:
    shown: list[str] = []
    for media_type, content in holder.get("content", {}).items():
        reference = str(content.get("schema", {}).get("$ref", ""))
        name = escape(reference.rpartition("/")[2])
        shown.append(f"<a href='#{name}'>{name}</a>" if name else f"<code>{escape(media_type)}</code>")
    return ", ".join(shown)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"
