"""From the profile that an attempt has left to an explanation of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cableway.definition import JsonObject
from cableway.errors import NotExplainedError, UnknownRunError
from cableway.explaining.network import Explanation, RecordedStage, explained
from cableway.store.executor import Step, Steps
from cableway.store.ids import is_id
from cableway.store.storable import storable_text

FORMAT = 1
"""Of the profiles that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExplanation(Explanation):
    """Where the time of a run's last recorded attempt went."""

    run_id: str
    attempt: int
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProfile:
    """What a run's last recorded attempt has left, to be explained."""

    run_id: str
    attempt: int
    wall_s: float
    profile: JsonObject
    document: JsonObject
    """The definition that it worked by."""


def read_profile(run_id: str) -> Steps[RunProfile]:
    """The profile of a run. Raise `UnknownRunError`, or `NotExplainedError` where no attempt of it has left one."""
    run = (yield Step("run", {"run_id": run_id})) if is_id(run_id) else []
    if not run:
        raise UnknownRunError(f"no run {storable_text(run_id)[:80]!r}")
    rows = yield Step("profile", {"run_id": run_id})
    if not rows or rows[0]["profile"].get("format") != FORMAT:
        raise NotExplainedError(
            f"run {run_id} is {run[0]['state']}, and no attempt of it has left times: there is nothing to explain yet"
        )
    return RunProfile(run_id=run_id, **rows[0])


def explanation_of(run: RunProfile) -> RunExplanation:
    """Explain a run. It computes for up to a second or two, and asks nothing."""
    profile = run.profile
    stages = recorded_stages(profile, run.document)
    cores = int(profile["cores"])
    found = explained(stages, run.wall_s, cores=cores, flow_s=profile["flow_s"], loop_s=profile["loop_s"])
    fields = {name: getattr(found, name) for name in Explanation.__dataclass_fields__}
    return RunExplanation(run_id=run.run_id, attempt=run.attempt, cores=cores, **fields)


def recorded_stages(profile: Mapping[str, Any], document: Mapping[str, Any]) -> list[RecordedStage]:
    """The stages of *profile*, with what the definition *document* says of their rates and limits."""
    defined: dict[str, JsonObject] = {stage["name"]: stage for stage in document["stages"]}
    return [_stage(stage, defined.get(stage["name"], {})) for stage in profile["stages"]]


def _stage(stage: Mapping[str, Any], defined: Mapping[str, Any]) -> RecordedStage:
    return RecordedStage(
        name=stage["name"],
        lane=stage["lane"],
        workers=stage["workers"],
        queue_size=stage["queue_size"],
        units=stage["units"],
        taken=stage["taken"],
        given=stage["given"],
        work_s=stage["busy_s"],
        blocked_s=stage["blocked_s"],
        firsts_s=tuple(stage["firsts_s"]),
        times={int(bucket): count for bucket, count in stage["times"].items()},
        serial=stage["serial"],
        per_s=defined.get("rate_per_s"),
        limits=tuple(defined.get("limits") or ()),
    )
