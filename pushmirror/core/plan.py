"""The stages of a job, in their order. A stage with nothing to do costs no rsync; one that fails stops the rest.

Deletions are not in here: they are a stage of their own after the serial counts as applied, the same for every job.
"""

from __future__ import annotations

from pushmirror.core.model import ChangeList, Stage, StageKind


def plan_list(changes: ChangeList) -> tuple[Stage, ...]:
    """Return the stages that bring `changes`: single paths, then whole directories, then what is surplus in those."""
    siblings = {sibling for _, sibling in changes.linked}
    stages = []
    if changes.changed:
        stages.append(Stage(StageKind.PAYLOAD, tuple(sorted({*changes.changed, *siblings}))))
    if changes.directories:
        stages.append(Stage(StageKind.DIRECTORIES, changes.directories))
        stages.append(Stage(StageKind.SURPLUS, changes.directories))
    return tuple(stages)


def plan_whole(*, adopting: bool) -> tuple[Stage, ...]:
    """Return the stages of a full sync; into a folder that has content it begins with a dry run (`adopting`)."""
    plan = (Stage(StageKind.PLAN),) if adopting else ()
    return (*plan, Stage(StageKind.WHOLE), Stage(StageKind.SURPLUS))
