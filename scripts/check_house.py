"""
House rules that no other tool checks: ``make check`` runs this; CONTRIBUTING.md says why each holds.

Sizes of modules and functions, file names that say nothing, SQL outside the store, the
environment read outside the settings, the start method ``fork``, promises without a
test, and addresses in the pinned requirements. (Docstrings are ruff's business.)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES = 400
FUNCTION_LINES = 50
EMPTY_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "base.py", "manager.py", "common.py", "misc.py"}
REASON_FOR_LENGTH = re.compile(rf"\b(above|over|more than|longer than) {MODULE_LINES} lines\b", re.IGNORECASE)
SQL = re.compile(
    r"^\s*(SELECT\s|INSERT\s+INTO\b|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM\b|MERGE\s+INTO\b|WITH\s+\S+\s+AS\b"
    r"|(CREATE|ALTER|DROP)\s+(TABLE|SCHEMA|INDEX|TYPE|VIEW|SEQUENCE|UNIQUE|TEMP)|TRUNCATE\s|COPY\s|LOCK\s+TABLE\b)"
)
PROMISES = [f"P{number}" for number in range(1, 27)]
PROMISE_ROW = re.compile(r"^\| (P\d+) \| (.*) \| (\S+) \|$", re.MULTILINE)
PROMISE_MARK = re.compile(r"""mark\.promise\(["'](P\d+)["']\)""")
ADDRESS = re.compile(r"://|--index-url|--extra-index-url|--find-links|(^|\s)[./]*/\S+/")


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed file, with its path relative to the root."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path, root: Path) -> Module:
        """The module at *path*, which is below *root*."""
        text = path.read_text(encoding="utf-8")
        return cls(PurePosixPath(path.relative_to(root).as_posix()), text, ast.parse(text))

    def fault(self, node: ast.AST | None, message: str) -> str:
        """*message* with the place it is about."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {message}"


def main() -> None:
    found = sorted(faults(ROOT))
    for fault in found:
        print(fault)
    if found:
        sys.exit(f"{len(found)} against the rules of the house")


def faults(root: Path) -> Iterator[str]:
    """Everything in the tree at *root* that is against the rules, one line each."""
    for folder in ("engine", "handlers"):
        for path in sorted((root / folder).rglob("*.py")):
            module = Module.read(path, root)
            for rule in (name_faults, size_faults, sql_faults, environment_faults, fork_faults):
                yield from rule(module)
    yield from promise_faults(root)
    yield from address_faults(root)


def name_faults(module: Module) -> Iterator[str]:
    if module.path.name in EMPTY_NAMES:
        yield module.fault(None, f"{module.path.name} does not say what is in it; name it after its noun")


def size_faults(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > MODULE_LINES and not REASON_FOR_LENGTH.search(ast.get_docstring(module.tree) or ""):
        reason = f"split it, or let its docstring say why it is over {MODULE_LINES} lines"
        yield module.fault(None, f"{lines} lines; {reason}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = function_lines(node)
            if size > FUNCTION_LINES:
                yield module.fault(node, f"{node.name} has {size} lines; {FUNCTION_LINES} is the most")


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How long a function is, its docstring not counted."""
    docstring = ast.get_docstring(node, clean=False)
    return (node.end_lineno or node.lineno) - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)


def sql_faults(module: Module) -> Iterator[str]:
    """SQL stands in store/queries/; blocs that work on a user's tables compose theirs from `psycopg.sql`."""
    if "store" in module.path.parts:
        return
    skipped = docstrings(module.tree)
    if "blocs" in module.path.parts:
        skipped |= composed(module.tree) | examples(module.tree)
    for node in ast.walk(module.tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in skipped and SQL.match(text):
                yield module.fault(node, "SQL outside store/queries/")
            case _:
                pass


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the strings that stand alone as statements."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def composed(tree: ast.Module) -> set[int]:
    """Identities of the plain strings given to ``SQL(...)``; an f-string is not plain."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "SQL")
    return {id(argument) for call in calls for argument in call.args}


def examples(tree: ast.Module) -> set[int]:
    """Identities of the strings in a class's ``example``: what a user may write in a config."""
    configs = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "example"
    )
    return {id(inner) for config in configs if config is not None for inner in ast.walk(config)}


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def environment_faults(module: Module) -> Iterator[str]:
    if module.path.name == "settings.py" or "cli" in module.path.parts:
        return
    for node in ast.walk(module.tree):
        match node:
            case (
                ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv")
                | ast.ImportFrom(module="os", names=[*_, ast.alias(name="environ" | "getenv")])
            ):
                yield module.fault(node, "the environment is read in settings.py alone")
            case _:
                pass


def fork_faults(module: Module) -> Iterator[str]:
    """A forked child of a process with threads may inherit a held lock; workers start afresh."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="fork" | "forkpty"):
                yield module.fault(node, "os.fork")
            case ast.Call(args=[ast.Constant(value="fork"), *_]) if called(node) in {"get_context", "set_start_method"}:
                yield module.fault(node, "start method fork")
            case ast.Call() if called(node) == "ProcessPoolExecutor" and not has_keyword(node, "mp_context"):
                yield module.fault(node, "ProcessPoolExecutor without mp_context forks on older Pythons")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="multiprocessing" | "mp"), attr="Process" | "Pool")):
                yield module.fault(node, "ask a context for it: the default one forks on older Pythons")
            case _:
                pass


def has_keyword(call: ast.Call, name: str) -> bool:
    return any(keyword.arg == name for keyword in call.keywords)


def promise_faults(root: Path) -> Iterator[str]:
    page = root / "docs" / "promises.md"
    states = {match[1]: match[3] for match in PROMISE_ROW.finditer(page.read_text(encoding="utf-8"))}
    if list(states) != PROMISES:
        yield f"docs/promises.md:1: must list P1 to P26 in order, each once; it has {', '.join(states) or 'none'}"
    tested = promises_tested((root / "tests").rglob("test_*.py"))
    for promise, state in states.items():
        if state not in {"kept", "open"}:
            yield f"docs/promises.md:1: {promise} is kept or open, not {state}"
        elif state == "kept" and promise not in tested:
            yield f"docs/promises.md:1: {promise} is kept, but no test is marked promise({promise!r})"


def promises_tested(paths: Iterable[Path]) -> set[str]:
    """The promises that some test is marked with."""
    return {promise for path in paths for promise in PROMISE_MARK.findall(path.read_text(encoding="utf-8"))}


def address_faults(root: Path) -> Iterator[str]:
    for path in sorted((root / "requirements").glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if ADDRESS.search(line):
                yield f"requirements/{path.name}:{number}: an address or a path: {line.strip()}"


if __name__ == "__main__":
    main()
