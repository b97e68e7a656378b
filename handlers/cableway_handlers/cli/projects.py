"""``cableway init``: a project to begin with."""

from __future__ import annotations

from pathlib import Path

from cableway.errors import UsageError
from cableway_handlers.cli import screen

TEMPLATES = Path(__file__).with_name("project")
SUFFIX = ".template"
HIDDEN = frozenset({"env", "gitignore", "dockerignore"})
"""Files whose names begin with a dot in a project."""


def init(folder: Path, *, json: bool) -> None:
    """Write the project to *folder*. Raise `UsageError`, having written nothing, where a file of it is there."""
    texts = {folder / _name(path): path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.rglob(f"*{SUFFIX}"))}
    there = [path for path in texts if path.exists()]
    if there:
        raise UsageError(f"{', '.join(map(str, there))}: there already, so nothing is written; choose another folder")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    if json:
        screen.as_json({"folder": folder, "files": list(texts)})
        return
    for path in texts:
        screen.say(f"wrote {path}")
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    screen.say(f"now: {go}cableway run --file pipeline.yaml")


def _name(path: Path) -> Path:
    relative = path.relative_to(TEMPLATES)
    name = relative.name.removesuffix(SUFFIX)
    return relative.with_name(f".{name}" if name in HIDDEN else name)
