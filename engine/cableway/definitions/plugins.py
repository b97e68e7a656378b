"""
Bloc types from elsewhere: modules that the settings name, and entry points of installed distributions.

An author's mistake is told with the place it comes from: the module, or the distribution and its version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from cableway.errors import DefinitionError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from cableway.blocs.kinds import Bloc

GROUP = "cableway.blocs"
"""The group of entry points; each is named after its bloc type and leads to ``module:class``."""
FUNCTIONS = "cableway.functions"
"""The group of entry points that lead to functions which definitions may name."""

_WORK = {"loader": ("load",), "transformer": ("transform", "initial", "fold", "finish"), "exporter": ("export",)}
_WANTED = ("bloc_type", "kind", "summary", "Config", "example")


def types_of_modules(paths: Iterable[str], taken: Iterable[str]) -> dict[str, type[Bloc]]:
    """The bloc types that the modules at *paths* define. Raise `DefinitionError` naming the module at fault."""
    found: dict[str, type[Bloc]] = {}
    built_in = frozenset(taken)
    for path in paths:
        module = _module(path, "CABLEWAY_BLOCS")
        for bloc_type in _defined_in(module):
            whole = checked_type(bloc_type, f"module {path}")
            if whole.bloc_type in built_in or whole.bloc_type in found:
                raise DefinitionError(f"module {path}: the bloc type {whole.bloc_type!r} is taken")
            found[whole.bloc_type] = whole
    return found


def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of every installed distribution by name; more than one for a name is a fault when it is used."""
    from importlib.metadata import entry_points

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def load_installed(name: str, points: tuple[EntryPoint, ...]) -> type[Bloc]:
    """The class that *points* lead to. Raise `DefinitionError` naming the distribution at fault."""
    point, *others = points
    if others:
        names = " and ".join(sorted(_distribution(point) for point in points))
        raise DefinitionError(f"the bloc type {name!r} comes from {names}; uninstall all but one")
    where = _distribution(point)
    bloc_type = checked_type(imported(point.value, where), where)
    if bloc_type.bloc_type != name:
        message = f"its entry point {name!r} leads to the bloc type {bloc_type.bloc_type!r}; both have to be the same"
        raise DefinitionError(f"{where}: {message}")
    return bloc_type


def imported(path: str, where: str) -> Any:
    """What stands at *path*, ``module:name``. Raise `DefinitionError` with *where* it is named."""
    module, _, name = path.partition(":")
    try:
        return getattr(_module(module, where), name)
    except AttributeError:
        raise DefinitionError(f"{where}: module {module!r} has no {name!r}") from None


def code_fault(path: str, modules: Iterable[str]) -> str | None:
    """Why a definition may not name the code at *path*: only what the operator installed for it; None where it may.

    That is what lies in *modules* or below them, and what an entry point of the group ``cableway.functions`` names.
    """
    module, colon, name = path.partition(":")
    if not (colon and name and all(part.isidentifier() for part in [*module.split("."), *name.split(".")])):
        return "must be module:name"
    allowed = (*modules, "cableway.examples")
    if not any(f"{module}.".startswith(f"{each}.") for each in allowed) and not _is_registered(path):
        return (
            f"names the module {module!r}, which CABLEWAY_BLOCS does not: name it there if its functions may be called"
        )
    try:
        imported(path, "the function")
    except DefinitionError as error:
        return str(error)
    return None


def _is_registered(path: str) -> bool:
    from importlib.metadata import entry_points

    return any(point.value == path for point in entry_points(group=FUNCTIONS))


def checked_type(found: Any, where: str) -> type[Bloc]:
    """*found* as a bloc type that says all there is to know of it; else raise `DefinitionError` with *where*."""
    # By its path, as the built-ins: who only describes types loads none of them.
    kinds: Any = import_module("cableway.blocs.kinds")
    if not (
        isinstance(found, type) and issubclass(found, (kinds.LoaderBloc, kinds.TransformerBloc, kinds.ExporterBloc))
    ):
        raise DefinitionError(f"{where}: {_named(found)} is no LoaderBloc, TransformerBloc or ExporterBloc")
    missing = [name for name in _WANTED if not hasattr(found, name)]
    if missing:
        raise DefinitionError(f"{where}: bloc type {_named(found)} does not say its {', '.join(missing)}")
    bloc_type = cast("type[Bloc]", found)
    if not {"__dataclass_fields__", "model_validate"} & set(dir(bloc_type.Config)):
        raise DefinitionError(f"{where}: the Config of {_named(found)} is neither a dataclass nor a pydantic model")
    if not bloc_type.lanes or not set(bloc_type.lanes) <= set(kinds.ALL_LANES):
        lanes = ", ".join(kinds.ALL_LANES)
        raise DefinitionError(f"{where}: the lanes of {_named(found)} must be some of {lanes}")
    if method := _missing_method(bloc_type, kinds):
        raise DefinitionError(f"{where}: bloc type {_named(found)} does nothing: it defines no method {method!r}")
    example: Any = bloc_type.example
    if not isinstance(example, Mapping):
        raise DefinitionError(f"{where}: the example of {_named(found)} must be a config")
    return bloc_type


def _missing_method(bloc_type: type[Bloc], kinds: Any) -> str | None:
    """The method that it must have of its own, and has not; None where it does its work in some way."""
    bases: tuple[Any, ...] = (kinds.LoaderBloc, kinds.TransformerBloc, kinds.ExporterBloc)
    base = next(base for base in bases if issubclass(bloc_type, base))
    methods = _WORK[base.kind]
    if bloc_type.worker is not None or any(getattr(bloc_type, name) is not getattr(base, name) for name in methods):
        return None
    return methods[0]


def _module(path: str, where: str) -> ModuleType:
    try:
        return import_module(path)
    except ImportError as error:
        raise DefinitionError(f"{where} names the module {path!r}, which cannot be imported: {error}") from error
    except Exception as error:
        kind, place = type(error).__name__, _place_of(error, path)
        raise DefinitionError(f"{where} names the module {path!r}, which raises {kind} when imported{place}") from error


def _place_of(error: Exception, path: str) -> str:
    """Where the author's code raised it: file and line, and nothing of what stands there."""
    from traceback import extract_tb

    if isinstance(error, SyntaxError):
        return f": {error.filename}, line {error.lineno}"
    own = path.replace(".", "/")
    files = (f"{own}.py", f"{own}/__init__.py")
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename.endswith(files)]
    return f": {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _defined_in(module: ModuleType) -> Iterable[type]:
    """The types that *module* (or a module below it) defines, not those that it imports to extend them."""
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and hasattr(value, "bloc_type")
            and f"{value.__module__}.".startswith(f"{module.__name__}.")
        ):
            yield value


def _distribution(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"the package {point.dist.name} {point.dist.version}"


def _named(found: Any) -> str:
    return f"{found.__module__}:{found.__qualname__}" if isinstance(found, type) else repr(type(found).__name__)
