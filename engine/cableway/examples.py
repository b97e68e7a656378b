"""A pipeline to begin with."""

from __future__ import annotations

from typing import Any

from cableway.definition import BlocDefinition, PipelineDefinition, StageDefinition


def build_example_pipeline(file_path: str = "data.csv", table_name: str = "processed_data") -> PipelineDefinition:
    """One that loads *file_path*, multiplies its numbers by 2 and by 3 side by side, and stores the doubled ones."""
    load = BlocDefinition(name="example_loader", bloc_type="csv_loader", config={"file_path": file_path})
    double, triple = (
        BlocDefinition(name=f"transformer_{letter}", bloc_type="example_transformer", config={"factor": factor})
        for letter, factor in (("a", 2), ("b", 3))
    )
    export = BlocDefinition(
        name="example_exporter",
        bloc_type="postgres_exporter",
        config={"table_name": table_name, "source_bloc": "transformer_a"},
    )
    return PipelineDefinition(
        name="example_pipeline",
        stages=(
            StageDefinition(name="load", blocs=(load,)),
            StageDefinition(name="transform", blocs=(double, triple)),
            StageDefinition(name="export", blocs=(export,)),
        ),
        description="Loads a CSV file, multiplies its numbers, and stores them.",
    )


def rounded(frame: Any, digits: int = 0) -> Any:
    """*frame* with its numbers rounded to so many *digits*: what the bloc ``python`` may call."""
    return frame.round(digits)
