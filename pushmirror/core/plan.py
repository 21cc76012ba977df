"""The stages of a job, in their order. A stage with nothing to do costs no rsync; one that fails stops the rest.

Metadata is fetched first and put in place last, by local renames; so a job has two parts: `fetch_*`, before which
nothing that clients see has changed, and what comes after the switch. Deletions are not in here: they are a stage of
their own, the same for every job, after the serial counts as applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pushmirror.core.model import ChangeList, Stage, StageKind
from pushmirror.core.paths import TreePath, lies_below
from pushmirror.core.profiles import Profile, split


@dataclass(frozen=True)
class ListPlan:
    """A list job: the `metadata` to fetch aside, the stages that `fetch` the rest, and what `surplus` is looked for in.

    `listing` are the directories whose metadata is not known by name yet.
    """

    metadata: tuple[TreePath, ...]
    listing: tuple[TreePath, ...]
    fetch: tuple[Stage, ...]
    surplus: tuple[TreePath, ...]


def plan_list(changes: ChangeList, profile: Profile) -> ListPlan:
    """Return how a job brings `changes` of a repository in the format of `profile`."""
    payload, metadata = split(changes.changed, profile)
    fetch = []
    if payload:
        fetch.append(Stage(StageKind.PAYLOAD, with_siblings(payload, changes)))
    if changes.directories:
        # Also those that hold nothing but metadata: they are made, emptied and given their attributes in this stage.
        below = {path for path, _ in changes.linked if lies_below(path, set(changes.directories))}
        siblings, _ = split(siblings_of(below, changes), profile)
        fetch.append(Stage(StageKind.DIRECTORIES, (*changes.directories, *siblings)))
    listing = changes.directories if profile else ()
    return ListPlan(with_siblings(metadata, changes), listing, tuple(fetch), changes.directories)


def with_siblings(paths: Iterable[TreePath], changes: ChangeList) -> tuple[TreePath, ...]:
    """Return `paths` and the settled other names of their inodes, so that rsync sees that they belong together."""
    chosen = set(paths)
    return tuple(sorted(chosen.union(siblings_of(chosen, changes))))


def siblings_of(paths: set[TreePath], changes: ChangeList) -> tuple[TreePath, ...]:
    """Return the settled other names of the inodes of `paths`."""
    return tuple(sorted({sibling for path, sibling in changes.linked if path in paths}))


def beside(stage: Stage, plain: Iterable[TreePath]) -> Stage:
    """Return `stage` with the files and links that the one before it has brought.

    They may be other names of what lies in its directories, and rsync links only what it sees in one run.
    """
    return Stage(stage.kind, tuple(dict.fromkeys((*stage.paths, *plain))))


def explain_stages(plan: ListPlan) -> tuple[Stage, ...]:
    """Return the stages of a list job as far as they are known before any of them has run.

    Single paths are taken to be files and links, which whole directories are brought beside.
    """
    first = (Stage(StageKind.LISTING, plan.listing),) if plan.listing else ()
    aside = (Stage(StageKind.METADATA, plan.metadata),) if plan.metadata else ()
    last = (Stage(StageKind.SURPLUS, plan.surplus),) if plan.surplus else ()
    single = tuple(path for stage in plan.fetch if stage.kind is StageKind.PAYLOAD for path in stage.paths)
    fetch = (beside(stage, single) if stage.kind is StageKind.DIRECTORIES else stage for stage in plan.fetch)
    return (*first, *aside, *fetch, *last)


def explain_whole(*, adopting: bool, profile: Profile) -> tuple[Stage, ...]:
    """Return the stages of a full sync; into a folder that has content it begins with a dry run (`adopting`)."""
    plan = (Stage(StageKind.PLAN),) if adopting else ()
    listing = (Stage(StageKind.LISTING),) if profile else ()
    return (*plan, *listing, Stage(StageKind.WHOLE), Stage(StageKind.SURPLUS))
