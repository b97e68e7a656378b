from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cableway
import cableway.blocs

MODULES = [cableway, cableway.blocs]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_complete(module: ModuleType) -> None:
    assert len(module.__all__) == len(set(module.__all__))
    assert sorted(dir(module)) == sorted(module.__all__)
    assert sorted(module.__all__) == sorted(vars(module)["_HOMES"])
    assert sorted(module.__all__) == sorted(typed_names(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_name_is_where_it_says(module: ModuleType) -> None:
    for name in module.__all__:
        home = importlib.import_module(vars(module)["_HOMES"][name])
        assert getattr(module, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = module.Nothing


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, cableway; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = found.stdout.split()
    assert [name for name in loaded if name.startswith(("cableway", "psycopg", "pydantic"))] == ["cableway"]


def typed_names(module: ModuleType) -> list[str]:
    """The names that a type checker sees."""
    tree = ast.parse(Path(module.__file__ or "").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
