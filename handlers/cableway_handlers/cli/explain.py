"""``cableway runs explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cableway_handlers.cli import screen
from cableway_handlers.cli.run_names import run_named
from cableway_handlers.cli.workplace import workplace

if TYPE_CHECKING:
    from cableway.explaining.recorded import RunExplanation

TRUST = 0.2
"""Where the play of the run as it was is further off than this share, predictions say so."""


def explain(name: str, *, json: bool) -> None:
    """Say where the time of the run *name* went, and what more workers would give."""
    from cableway.explaining.recorded import explanation_of, read_profile

    with workplace() as place, place.storage() as storage:
        found = explanation_of(storage.session.drive(read_profile(run_named(storage, name))))
    if json:
        screen.as_json(found)
        return
    _stages(found)
    for line in words_of(found):
        screen.console().print(screen.plain(line), soft_wrap=True)


def words_of(found: RunExplanation) -> list[str]:
    """What there is to say of a run, a line for each thing."""
    if found.bottleneck is None:
        return ["no stage has worked"]
    finding = next(each for each in found.findings if each.stage == found.bottleneck)
    lines = [f"{found.bottleneck} is the bottleneck: its workers are busy {finding.busy:.0%} of {found.wall_s:.2f} s"]
    if finding.holds_up_s >= 0.01:
        lines.append(f"workers of the stage before it have waited {finding.holds_up_s:.2f} s for room")
    if found.no_more is not None:
        lines.append(f"more workers for it would give nothing: {found.no_more}")
    elif not found.proposals:
        lines.append("more workers for it would give next to nothing")
    lines += [
        f"with {screen.count(each.workers, 'worker')} in {each.stage} the run would take {each.wall_s:.2f} s "
        f"({each.wall_s / found.wall_s - 1:+.0%}), {each.vcpu_s:.2f} vCPU-seconds"
        for each in found.proposals
    ]
    off = abs(found.replayed_s - found.wall_s) / found.wall_s if found.wall_s else 0.0
    if found.proposals and off > TRUST:
        lines.append(
            f"do not rely on it: the recorded times make up {found.replayed_s:.2f} s of {found.wall_s:.2f} s; "
            "the rest is the start, the end, and what is in no stage"
        )
    return lines


def _stages(found: RunExplanation) -> None:
    table = screen.table("stage", "busy", "blocked by the next")
    for each in found.findings:
        table.add_row(screen.plain(each.stage), f"{each.busy:.0%}", f"{each.blocked:.0%}")
    screen.print_table(table, found.findings, "no stages")
