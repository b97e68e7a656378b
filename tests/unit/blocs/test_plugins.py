from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cableway.blocs.kinds import TransformerBloc
from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definition import BlocDefinition
from cableway.definitions.document_schema import pipeline_schema
from cableway.definitions.plugins import checked_type
from cableway.errors import DefinitionError
from tests import need

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1.2.3"
[project.entry-points."cableway.blocs"]
{points}
"""
MODULE = '''
from dataclasses import dataclass
from cableway.blocs import TransformerBloc

@dataclass(frozen=True, kw_only=True)
class ShoutConfig:
    """How loud."""
    marks: int = 1
    """How many."""

class ShoutBloc(TransformerBloc):
    bloc_type = "shout"
    summary = "Makes text loud."
    Config = ShoutConfig
    example = {"marks": 2}

    def transform(self, context):
        return context.input().upper() + "!" * self.config.marks

a_function = print
'''
POINTS = {
    "shout": "shouting_blocs:ShoutBloc",
    "whisper": "shouting_blocs:ShoutBloc",
    "gone": "shouting_blocs:GoneBloc",
    "lost": "no_such_module_of_shouting:Bloc",
    "printed": "shouting_blocs:a_function",
}


def install(folder: Path, name: str, points: dict[str, str], module: str = MODULE) -> Path:
    """A distribution built by hatchling and installed by pip, both without a network; return where it is."""
    need.module("hatchling")
    need.module("pip")
    source, target = folder / name, folder / f"{name}-installed"
    package = name.replace("-", "_")
    source.mkdir()
    (source / f"{package}.py").write_text(module)
    lines = "\n".join(f'{point} = "{path}"' for point, path in points.items())
    (source / "pyproject.toml").write_text(PROJECT.format(name=name, points=lines))
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    return target


def reach(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def shouting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugins"), "shouting-blocs", POINTS)


@pytest.fixture
def plugged(shouting: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    reach(monkeypatch, shouting)
    yield Catalog()
    sys.modules.pop("shouting_blocs", None)


def test_an_installed_distribution_brings_a_bloc_type(plugged: Catalog) -> None:
    assert "shout" in plugged.names()
    assert plugged.path("shout") == "shouting_blocs:ShoutBloc"
    described = plugged.describe("shout")
    assert (described["summary"], described["config"]["properties"]["marks"]["default"]) == ("Makes text loud.", 1)
    document = {"name": "p", "stages": [[{"name": "a", "bloc_type": "shout", "config": {"marks": "3"}}]]}
    with pytest.raises(DefinitionError) as caught:
        check_document(document, catalog=plugged)
    assert [fault.pointer for fault in caught.value.faults] == ["/stages/0/0/config/marks"]
    made: Any = plugged.build(BlocDefinition(name="s", bloc_type="shout", config={"marks": 3}), checked=True)
    assert made.config.marks == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("whisper", "its entry point 'whisper' leads to the bloc type 'shout'; both have to be the same"),
        ("gone", "module 'shouting_blocs' has no 'GoneBloc'"),
        ("lost", "which cannot be imported: No module named 'no_such_module_of_shouting'"),
        ("printed", "is no LoaderBloc, TransformerBloc or ExporterBloc"),
    ],
)
def test_a_broken_plugin_is_named_with_its_distribution(plugged: Catalog, name: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        plugged.load(name)
    assert "the package shouting-blocs 1.2.3" in str(caught.value)
    assert said in str(caught.value)


def test_a_broken_plugin_is_a_fault_where_it_is_used_and_nowhere_else(plugged: Catalog) -> None:
    def document(bloc_type: str) -> dict[str, Any]:
        return {"name": "p", "stages": [[{"name": "a", "bloc_type": bloc_type}]]}

    assert check_document(document("pass_through"), catalog=plugged).name == "p"
    with pytest.raises(DefinitionError) as caught:
        check_document(document("gone"), catalog=plugged)
    assert [fault.pointer for fault in caught.value.faults] == ["/stages/0/0/bloc_type"]
    with pytest.raises(DefinitionError, match=r"shouting-blocs 1\.2\.3"):
        pipeline_schema(plugged)


def test_two_distributions_with_one_type_are_both_named(
    plugged: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(monkeypatch, install(tmp_path, "louder-blocs", {"shout": "louder_blocs:ShoutBloc"}))
    with pytest.raises(
        DefinitionError, match=r"louder-blocs 1\.2\.3 and the package shouting-blocs 1\.2\.3; uninstall"
    ):
        plugged.load("shout")


def test_a_module_that_raises_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raising_blocs.py").write_text("import json\njson.loads('secret')\n")
    (tmp_path / "misspelt_blocs.py").write_text("\n\ndef (")
    reach(monkeypatch, tmp_path)
    for name, kind, line in (("raising_blocs", "JSONDecodeError", 2), ("misspelt_blocs", "SyntaxError", 3)):
        said = f"CABLEWAY_BLOCS names the module '{name}', which raises {kind} when imported: "
        with pytest.raises(DefinitionError, match=f"{said}.*{name}.py, line {line}$") as caught:
            Catalog([name]).load("own")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"summary": None}, None),
        ({"transform": TransformerBloc.transform}, "does nothing: it defines no method 'transform'"),
        ({"transform": TransformerBloc.transform, "fold": print}, None),
        ({"transform": TransformerBloc.transform, "worker": "module:work"}, None),
        ({"Config": None}, "the Config of"),
        ({"lanes": ("moon",)}, "must be some of async, thread"),
        ({"lanes": ()}, "must be some of async, thread"),
        ({"example": "x"}, "must be a config"),
    ],
)
def test_what_a_type_says_of_itself_is_looked_at(fields: dict[str, Any], said: str | None) -> None:
    whole: dict[str, Any] = {"bloc_type": "own", "summary": "Does.", "Config": BlocDefinition, "example": {}}
    made = type("OwnBloc", (TransformerBloc,), {**whole, "transform": print, **fields, "__module__": __name__})
    if said is None:
        assert checked_type(made, "module own") is made
        return
    with pytest.raises(DefinitionError, match=said):
        checked_type(made, "module own")


def test_a_type_that_does_not_say_everything_is_told_what() -> None:
    made = type("OwnBloc", (TransformerBloc,), {"bloc_type": "own"})
    with pytest.raises(DefinitionError, match="does not say its summary, Config, example"):
        checked_type(made, "module own")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A bloc type for the interpreter lane, in a module of its own."""
    module: Any = ModuleType("interpreted_blocs")
    fields: dict[str, Any] = {"bloc_type": "own", "summary": "Does.", "Config": BlocDefinition, "example": {}}
    own = {**fields, "transform": print, "__module__": "interpreted_blocs"}
    module.OwnBloc = type("OwnBloc", (TransformerBloc,), own)
    module.work, module.number = print, 1
    monkeypatch.setitem(sys.modules, "interpreted_blocs", module)
    return Catalog(["interpreted_blocs"])


@pytest.mark.promise("P22")
@pytest.mark.parametrize(
    ("worker", "said"),
    [
        (None, "names no worker function"),
        ("interpreted_blocs:work", None),
        ("interpreted_blocs:gone", "cannot be imported: AttributeError"),
        ("no.such.module:work", "cannot be imported: ModuleNotFoundError"),
        ("interpreted_blocs", "cannot be imported"),
        ("", "cannot be imported: ValueError"),
        ("interpreted_blocs:number", "cannot be called"),
    ],
)
def test_the_interpreter_lane_needs_a_worker_that_can_be_imported(
    interpreted: Catalog, worker: str | None, said: str | None
) -> None:
    monkeypatched: Any = interpreted.load("own")
    monkeypatched.worker = worker
    bloc = {"name": "a", "bloc_type": "own", "config": {"name": "x", "bloc_type": "y"}}
    document = {"name": "p", "stages": [{"lane": "interpreter", "blocs": [bloc]}]}
    if said is None:
        check_document(document, catalog=interpreted)
        return
    with pytest.raises(DefinitionError, match=said) as caught:
        check_document(document, catalog=interpreted)
    assert [fault.code for fault in caught.value.faults] == ["worker"]
