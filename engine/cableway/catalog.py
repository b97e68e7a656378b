"""
Bloc types by name: found, described, built.

Built-ins are import paths, so that a job loads the types that its pipeline names and no others.
After them come the modules that the settings name, and last, because asking the installed
distributions is slow, the entry points of the group ``cableway.blocs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, cast

from cableway.definition import BlocDefinition, JsonObject
from cableway.definitions.plugins import code_fault, imported, installed, load_installed, types_of_modules
from cableway.errors import DefinitionError, Fault
from cableway.redaction import revealed, sealed

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic import TypeAdapter

    from cableway.blocs.kinds import Bloc

BUILT_IN: Mapping[str, str] = {
    "aggregate": "cableway.blocs.aggregate:AggregateBloc",
    "api_loader": "cableway.blocs.api_loader:ApiLoaderBloc",
    "cast": "cableway.blocs.shaping.cast:CastBloc",
    "check": "cableway.blocs.check:CheckBloc",
    "csv_exporter": "cableway.blocs.csv_files.exporter:CsvExporterBloc",
    "csv_loader": "cableway.blocs.csv_files.loader:CsvLoaderBloc",
    "deduplicate": "cableway.blocs.shaping.deduplicate:DeduplicateBloc",
    "example_transformer": "cableway.blocs.example_transformer:ExampleTransformerBloc",
    "filter": "cableway.blocs.shaping.filter:FilterBloc",
    "http_call": "cableway.blocs.http_call:HttpCallBloc",
    "jsonl_exporter": "cableway.blocs.jsonl_exporter:JsonlExporterBloc",
    "jsonl_loader": "cableway.blocs.jsonl_loader:JsonlLoaderBloc",
    "notify": "cableway.blocs.notify:NotifyBloc",
    "parquet_loader": "cableway.blocs.parquet_loader:ParquetLoaderBloc",
    "parquet_exporter": "cableway.blocs.parquet_exporter:ParquetExporterBloc",
    "pass_through": "cableway.blocs.pass_through:PassThroughBloc",
    "postgres_exporter": "cableway.blocs.postgres.exporter:PostgresExporterBloc",
    "postgres_loader": "cableway.blocs.postgres.loader:PostgresLoaderBloc",
    "python": "cableway.blocs.python_function:PythonBloc",
    "refresh_webhooks": "cableway.blocs.refresh_webhooks:RefreshWebhooksBloc",
    "rename": "cableway.blocs.shaping.rename:RenameBloc",
    "run_adk_agents": "cableway.blocs.run_adk_agents:RunAdkAgentsBloc",
    "s3_exporter": "cableway.blocs.s3_exporter:S3ExporterBloc",
    "s3_loader": "cableway.blocs.s3_loader:S3LoaderBloc",
    "select": "cableway.blocs.shaping.select:SelectBloc",
    "sql": "cableway.blocs.sql:SqlBloc",
    "sql_loader": "cableway.blocs.sql_loader:SqlLoaderBloc",
    "webhook_exporter": "cableway.blocs.webhook_exporter:WebhookExporterBloc",
}


class Catalog:
    """The bloc types that a process knows. *modules* are imported when a name is no built-in's."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._modules = tuple(modules)
        self._loaded: dict[str, type[Bloc]] = {}
        self._of_modules: dict[str, type[Bloc]] | None = None
        self._plugged: Mapping[str, tuple[EntryPoint, ...]] | None = None

    def names(self) -> tuple[str, ...]:
        """Every type, sorted."""
        return tuple(sorted({*BUILT_IN, *self._from_modules(), *self._entry_points()}))

    def load(self, name: str) -> type[Bloc]:
        """The class of bloc type *name*. Raise `DefinitionError` (``unknown_bloc``) that lists near names."""
        if name not in self._loaded:
            self._loaded[name] = self._find(name)
        return self._loaded[name]

    def path(self, name: str) -> str:
        """Where a worker imports type *name* from, as ``module:class``."""
        bloc_type = self.load(name)
        return f"{bloc_type.__module__}:{bloc_type.__qualname__}"

    def build(self, definition: BlocDefinition, *, checked: bool, secrets: Mapping[str, str] | None = None) -> Bloc:
        """The bloc that *definition* describes, the *secrets* that its config names put in.

        With *checked* the config is one that `normalise` gave, so it is taken as it is and pydantic
        does not load (unless the type's own config is a pydantic model). Raise `DefinitionError`
        with a fault for each thing that is wrong with the config.
        """
        bloc_type = self.load(definition.bloc_type)
        make: Any = bloc_type.Config
        given = definition.config if secrets is None else revealed(definition.config, secrets)
        config: Any
        if checked and is_dataclass(bloc_type.Config):
            try:
                config = make(**given)
            except TypeError:
                raise DefinitionError(
                    f"bloc {definition.name!r}: its config is not one of this version's "
                    f"{definition.bloc_type}; save the pipeline again"
                ) from None
        else:
            config = self._validated(bloc_type, definition.name, given)
        return bloc_type(definition.name, sealed(config) if secrets else config)

    def normalise(self, name: str, config: Mapping[str, Any]) -> tuple[JsonObject, list[Fault]]:
        """*config* with the defaults of type *name* written out, or what is wrong with it, all of it."""
        from cableway.definitions.configs import config_faults, written_out

        bloc_type = self.load(name)
        made, faults = config_faults(self.adapter(bloc_type), config)
        if made is not None:
            faults = self._faults(bloc_type, made)
        return (dict(config) if faults or made is None else written_out(made, config)), faults

    def describe(self, name: str) -> JsonObject:
        """Type *name* as JSON: kind, summary, lanes, the JSON Schema of its config, and an example."""
        from cableway.definitions.configs import described_throughout

        bloc_type = self.load(name)
        schema = described_throughout(self.adapter(bloc_type).json_schema(), bloc_type.Config)
        schema.pop("title", None)
        return {
            "name": name,
            "kind": bloc_type.kind,
            "summary": bloc_type.summary,
            "lanes": list(bloc_type.lanes),
            "config": schema,
            "example": dict(bloc_type.example),
        }

    def adapter(self, bloc_type: type[Bloc]) -> TypeAdapter[Any]:
        """What validates the config of *bloc_type*; made once.

        Raise `DefinitionError` naming the type where pydantic cannot make anything of its config.
        """
        from pydantic import PydanticUserError

        from cableway.definitions.configs import adapter_of

        try:
            return adapter_of(bloc_type.Config)
        except (PydanticUserError, TypeError, NameError) as error:
            where = f"{bloc_type.__module__}:{bloc_type.__qualname__}"
            raise DefinitionError(f"bloc type {where}: its Config cannot be checked: {error}") from error

    def _validated(self, bloc_type: type[Bloc], name: str, config: Mapping[str, Any]) -> Any:
        from cableway.definitions.configs import config_faults

        made, faults = config_faults(self.adapter(bloc_type), config, references=False)
        if made is not None:
            faults = self._faults(bloc_type, made)
        if faults:
            first = f"{faults[0].pointer}: {faults[0].message}"
            raise DefinitionError(f"bloc {name!r} ({bloc_type.bloc_type}): {first}", faults)
        return made

    def _faults(self, bloc_type: type[Bloc], made: Any) -> list[Fault]:
        found = [Fault(f"/{field}", "invalid", message) for field, message in bloc_type.faults(made)]
        code = ((field, code_fault(path, self._modules)) for field, path in bloc_type.code_paths(made))
        return found + [Fault(f"/{field}", "code", reason) for field, reason in code if reason is not None]

    def _find(self, name: str) -> type[Bloc]:
        if name in BUILT_IN:
            return cast("type[Bloc]", imported(BUILT_IN[name], f"bloc type {name!r}"))
        of_modules = self._from_modules()
        if name in of_modules:
            return of_modules[name]
        plugged = self._entry_points()
        if name in plugged:
            return load_installed(name, plugged[name])
        raise self._unknown(name)

    def _unknown(self, name: str) -> DefinitionError:
        from difflib import get_close_matches

        known = self.names()
        near = get_close_matches(name, known, n=3) or known
        said = f"{'near it' if near is not known else 'known'}: {', '.join(near)}"
        message = f"no bloc type {name!r}; {said}. A type of your own is found in a module that CABLEWAY_BLOCS names"
        return DefinitionError(message, [Fault("/bloc_type", "unknown_bloc", message)])

    def _from_modules(self) -> dict[str, type[Bloc]]:
        if self._of_modules is None:
            self._of_modules = types_of_modules(self._modules, BUILT_IN)
        return self._of_modules

    def _entry_points(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        if self._plugged is None:
            self._plugged = installed()
        return self._plugged
