"""How pipelines, versions, plans and bloc types look in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from cableway.definitions.described_keys import described_keys
from cableway_handlers.cli.planning import Action
from cableway_handlers.cli.screen import console, count, plain, print_table, say, table, when

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition
    from cableway.definitions.difference import Change
    from cableway.store.reading import PipelineRow, VersionEntry
    from cableway_handlers.cli.planning import Plan

LONGEST_VALUE = 60
"""Characters of a value that changed."""

_SIGNS = {"add": "+", "remove": "-", "replace": "~", "move": "~"}
_ACTIONS = {
    Action.CREATE: ("+", "green", "new"),
    Action.UPDATE: ("~", "yellow", "changed"),
    Action.RESTORE: ("+", "green", "comes back from the archive"),
    Action.ARCHIVE: ("-", "red", "goes to the archive"),
    Action.KEEP: ("=", "dim", "unchanged"),
}


def definition(found: PipelineDefinition) -> str:
    """The pipeline in a few words."""
    blocs = sum(len(stage.blocs) for stage in found.stages)
    return f"{found.name}: {count(len(found.stages), 'stage')}, {count(blocs, 'bloc')}"


def document(about: Mapping[str, Any], document: Any) -> None:
    """Print *document* as YAML on stdout; what is known *about* it goes to stderr."""
    import sys

    import yaml

    told = [f"{key} {value}" for key, value in about.items() if key not in {"name", "content_hash"} and value]
    say(f"{about['name']}: {', '.join(str(each) for each in told)}")
    sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def pipelines_table(rows: Sequence[PipelineRow]) -> None:
    """Print the pipelines, a line for each; archived ones are dim."""
    shown = table("pipeline", "version", "changed", "description")
    for row in rows:
        name = plain(row.name, "dim" if row.archived_at else "")
        shown.add_row(name, str(row.version), when(row.updated_at), plain(row.description))
    print_table(shown, rows, "no pipelines yet: `cableway apply FILE` stores one")


def versions_table(rows: Sequence[VersionEntry]) -> None:
    """Print the versions of a pipeline, the newest first; a star marks the active one."""
    shown = table("version", "stored", "author", "hash", "note")
    for row in rows:
        number = f"{row.version}{' *' if row.active else ''}"
        shown.add_row(number, when(row.created_at), plain(row.author), row.content_hash[:12], plain(row.note))
    print_table(shown, rows, "no versions")


def bloc_types_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the bloc types, a line for each."""
    shown = table("type", "kind", "what it does")
    for row in rows:
        shown.add_row(plain(row["name"]), row["kind"], plain(row["summary"]))
    print_table(shown, rows, "no bloc types")


def bloc_type(described: Mapping[str, Any]) -> None:
    """Print one bloc type: what it does, its config, an example."""
    out = console()
    out.print(plain(f"{described['name']} ({described['kind']})", "bold"))
    out.print(plain(described["summary"]))
    out.print(plain(f"lanes: {', '.join(described['lanes'])}"))
    out.print()
    shown = table("config", "type", "default", "what it is")
    for key in described_keys(described["config"]):
        shown.add_row(*map(plain, (key.name, key.kind.replace("`", ""), key.default, key.words)))
    out.print(shown)
    out.print("\nexample:", json.dumps(described["example"], indent=2), markup=False)


def plans(found: Sequence[Plan]) -> None:
    """Print what would become of each pipeline, with the changes below it."""
    out = console()
    for plan in found:
        sign, style, words = _ACTIONS[plan.action]
        file = "" if plan.file is None else f" ({plan.file})"
        version = f" from version {plan.version}" if plan.action is Action.UPDATE else ""
        out.print(plain(f"{sign} {plan.name}{file}: {words}{version}", style))
        for change in plan.changes:
            out.print(plain(f"    {_SIGNS[change.op]} {change.pointer}: {_values(change)}"), soft_wrap=True)
    kept, gone = (sum(plan.action is action for plan in found) for action in (Action.KEEP, Action.ARCHIVE))
    say(f"{len(found) - kept - gone} to store, {kept} unchanged, {gone} to archive; nothing is changed yet")


def changes(found: Sequence[Change]) -> None:
    """Print what differs between two versions."""
    out = console()
    for change in found:
        out.print(plain(f"{_SIGNS[change.op]} {change.pointer}: {_values(change)}"), soft_wrap=True)
    if not found:
        say("they say the same")


def _values(change: Change) -> str:
    match change.op:
        case "add":
            return _short(change.after)
        case "remove":
            return f"{_short(change.before)} is gone"
        case "move":
            return f"now in the order {', '.join(change.after)}"
        case "replace":
            return f"{_short(change.before)} -> {_short(change.after)}"


def _short(value: Any) -> str:
    name = cast("dict[str, Any]", value).get("name") if isinstance(value, dict) else None
    text = repr(name) if isinstance(name, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
