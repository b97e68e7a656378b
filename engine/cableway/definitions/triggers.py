"""What is wrong with the triggers that a pipeline document lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cableway.definition import PipelineDefinition, TriggerDefinition
from cableway.definitions.cron_grammar import CronError, parse_cron, zone_fault
from cableway.definitions.pointers import escaped
from cableway.errors import Fault, ParameterError
from cableway.parameters import checked_parameters

HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""A trigger's name: it stands in a webhook's address."""
SECRET = re.compile(r"env:(?!DATABASE_)[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
"""A reference to what signs webhooks."""


def trigger_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    """Every fault in the triggers of *definition*, at pointers from the document's root."""
    for name, trigger in definition.triggers.items():
        pointer = f"/triggers/{escaped(name)}"
        if not HOOK_NAME.fullmatch(name):
            yield Fault(pointer, "name", "must be 1 to 100 letters, digits, dots, dashes and underscores")
        if trigger.kind == "cron":
            yield from _cron_faults(trigger, pointer, definition)
        else:
            yield from _webhook_faults(trigger, pointer)


def _cron_faults(trigger: TriggerDefinition, pointer: str, definition: PipelineDefinition) -> Iterator[Fault]:
    if trigger.expression is None:
        yield Fault(f"{pointer}/expression", "missing", "is required of a cron trigger")
    else:
        try:
            parse_cron(trigger.expression)
        except CronError as error:
            yield Fault(f"{pointer}/expression", "cron", str(error))
    if trigger.timezone is not None and (reason := zone_fault(trigger.timezone)):
        yield Fault(f"{pointer}/timezone", "timezone", reason)
    if trigger.secrets:
        yield Fault(f"{pointer}/secrets", "not_here", "belongs to a webhook")
    try:
        checked_parameters(definition.parameters, trigger.parameters)
    except ParameterError as error:
        for fault in error.faults:
            yield Fault(f"{pointer}{fault.pointer}", fault.code, fault.message)


def _webhook_faults(trigger: TriggerDefinition, pointer: str) -> Iterator[Fault]:
    for name in ("expression", "timezone", "parameters"):
        if getattr(trigger, name):
            yield Fault(f"{pointer}/{name}", "not_here", "belongs to a cron trigger")
    if not trigger.secrets:
        yield Fault(
            f"{pointer}/secrets", "missing", "must name at least one secret that signs, such as env:HOOK_SECRET"
        )
    for number, secret in enumerate(trigger.secrets):
        if not SECRET.fullmatch(secret):
            message = "must be env: and the name of a variable, and none of DATABASE_*"
            yield Fault(f"{pointer}/secrets/{number}", "secret", message)
