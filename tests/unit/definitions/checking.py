"""What the tests of documents share: a pipeline that is right, and the faults of one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definition import PipelineDefinition
from cableway.errors import DefinitionError, Fault


def inline(name: str, bloc_type: str = "pass_through", **fields: Any) -> dict[str, Any]:
    return {"name": name, "bloc_type": bloc_type, **fields}


def pipeline(**fields: Any) -> dict[str, Any]:
    return {"name": "p", "stages": [[inline("a")]], **fields}


def staged(**fields: Any) -> dict[str, Any]:
    """A pipeline whose second stage has *fields*."""
    return pipeline(stages=[[inline("a")], {"blocs": [inline("b")], **fields}])


def check(document: Mapping[str, Any], catalog: Catalog | None = None) -> PipelineDefinition:
    return check_document(document, catalog=catalog or Catalog())


def faults_in(document: Any, catalog: Catalog | None = None) -> tuple[Fault, ...]:
    with pytest.raises(DefinitionError) as caught:
        check(document, catalog)
    assert caught.value.exit_code == 78
    return caught.value.faults


def faults_of(document: Any, catalog: Catalog | None = None) -> dict[str, str]:
    return {fault.pointer: fault.code for fault in faults_in(document, catalog)}
