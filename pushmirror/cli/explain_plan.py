"""What a subscriber would do with an update that it believes: the kind of job, and every rsync run of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pushmirror.core.budget import judge_deletions
from pushmirror.core.changes import merge, settle
from pushmirror.core.command import Command, build_command
from pushmirror.core.filters import filter_changes
from pushmirror.core.model import ChangeList, Stage, StageKind, Update
from pushmirror.core.paths import TreePath, shorten, topmost
from pushmirror.core.plan import explain_stages, explain_whole, plan_list
from pushmirror.core.sources import Proof
from pushmirror.core.tracking import Verdict, judge_update
from pushmirror.monitor.quantities import format_count, format_duration_ms
from pushmirror.subscriber.deletions import PROBED_NAMES
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import TreeRecord

_MEANING = {
    Verdict.NOTHING_NEW: "it was heard before: nothing is done",
    Verdict.NEXT: "it follows on what was heard",
    Verdict.GAP: "updates are missing in between: they are fetched from the service first",
    Verdict.FORK: "it contradicts what was heard: the service is asked, and the whole tree is synced",
    Verdict.NEW_EPOCH: "it comes from a newer journal, or is the first that is heard: the whole tree is synced",
    Verdict.OLD_EPOCH: "it comes from an older journal: nothing is done but to ask the service where it is",
}
_PURPOSE = {
    StageKind.PLAN: "a dry run, because the folder is not empty: symbolic links in the way stop the job",
    StageKind.LISTING: "a dry run that lists the metadata that has changed",
    StageKind.MARKER: "look at the marker file of a source",
    StageKind.PROBE: "a dry run that looks which of some paths the upstream has",
    StageKind.METADATA: "bring metadata into the staging folder",
    StageKind.PAYLOAD: "bring what was put",
    StageKind.DIRECTORIES: "bring whole directories",
    StageKind.WHOLE: "bring the whole tree, deleting nothing",
    StageKind.SURPLUS: "a dry run that lists what is here and not at the upstream",
    StageKind.DELETE: "delete what is gone at the upstream",
}


@dataclass(frozen=True)
class Run:
    """One rsync run, and why."""

    stage: StageKind
    purpose: str
    command: Command


@dataclass
class Plan:
    """`scope` is ``list``, ``whole`` or ``none``; `notes` are sentences in the order in which things happen."""

    scope: str = "none"
    verdict: Verdict | None = None
    notes: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


def make_plan(
    update: Update, changes: ChangeList | None, parts: TreeParts, ledger: Ledger | None, record: TreeRecord | None
) -> Plan:
    """Return the plan for `update`. `changes` is its list, None when it is whole or its list is not at hand.

    Without a ledger it is what a subscriber does that is in step up to the update before.
    """
    plan = Plan()
    if ledger is not None:
        plan.verdict = judge_update(None if record is None else record.head, update)
        plan.notes.append(_MEANING[plan.verdict])
        if plan.verdict in (Verdict.NOTHING_NEW, Verdict.OLD_EPOCH):
            plan.notes.append("to see what it stood for when it was new: explain again with --ignore-ledger")
            return plan
    plan.notes += _tell_sources(parts)
    if record is not None and record.paused:
        plan.notes.append("the tree is paused: what follows happens when it is resumed")
    if _is_whole(update, plan.verdict, ledger, record):
        _plan_whole(plan, parts, record)
    elif changes is None:
        plan.scope = "list"
        plan.notes.append("its change list does not travel with it; it is fetched from the service by its digest")
    else:
        _plan_list(plan, changes, parts, ledger, record)
    return plan


def _tell_sources(parts: TreeParts) -> Iterator[str]:
    if len(parts.sources) == 1:
        return
    yield "the commands are those for the first source; a job reads from the first that has what was announced:"
    for number, source in enumerate(parts.sources, start=1):
        condition = {
            Proof.NONE: "the origin's own",
            Proof.RELAY: f"if the relay {source.relay} says so",
            Proof.MARKER: f"if its {shorten(source.marker or b'')} is the origin's, and not for deletions",
        }
        yield f"source {number}: {source.url}, {condition[source.proof]}"


def _is_whole(update: Update, verdict: Verdict | None, ledger: Ledger | None, record: TreeRecord | None) -> bool:
    if update.whole or verdict in (Verdict.FORK, Verdict.NEW_EPOCH):
        return True
    if ledger is None:
        return False
    return record is None or record.last_full_sync_ms is None or record.whole_pending


def _plan_whole(plan: Plan, parts: TreeParts, record: TreeRecord | None) -> None:
    plan.scope = "whole"
    first = record is None or record.last_full_sync_ms is None
    empty = _is_empty(parts)
    exact_times = (first and empty) or (record is not None and record.exact_times)
    for stage in explain_whole(adopting=first and not empty, profile=parts.profile):
        _add_run(plan, stage, parts, exact_times=exact_times)
    plan.notes.append("the surplus that is found goes through the delete budget like every other deletion")


def _is_empty(parts: TreeParts) -> bool:
    try:
        return parts.mirror.is_empty()
    except OSError:
        return True


def _plan_list(
    plan: Plan, changes: ChangeList, parts: TreeParts, ledger: Ledger | None, record: TreeRecord | None
) -> None:
    plan.scope = "list"
    waiting = () if ledger is None else ledger.pending(parts.name)
    deletions = () if ledger is None else ledger.deletions(parts.name)
    if parts.settings.coalesce_ms:
        plan.notes.append(f"announcements are gathered for {format_duration_ms(parts.settings.coalesce_ms)}")
    if waiting:
        plan.notes.append(f"the job also brings {format_count(len(waiting), 'update')} from before, still pending")
    earlier = ChangeList(deleted=tuple(deletion.path for deletion in deletions))
    merged = merge([earlier, *(update.changes or ChangeList() for update in waiting), changes])
    settled = settle(merged, parts.mirror.is_directory)
    kept = filter_changes(settled, parts.rules, parts.mirror.is_directory)
    if kept != settled:
        plan.notes.append("the filters of the settings hide some of it, or all")
    stages = plan_list(kept, parts.profile)
    for stage in explain_stages(stages):
        _add_run(plan, stage, parts)
    if stages.metadata or stages.listing:
        plan.notes.append("metadata is put in place by renames after everything else is here")
    settled = kept
    if settled.deleted:
        _plan_deletions(plan, topmost(settled.deleted), parts, record)
    if not plan.runs:
        plan.notes.append("no rsync is needed for it")


def _plan_deletions(plan: Plan, paths: tuple[TreePath, ...], parts: TreeParts, record: TreeRecord | None) -> None:
    present = parts.mirror.present(paths)
    plan.notes.append(f"of {format_count(len(paths), 'path')} to be deleted, {len(present)} are here")
    count = parts.mirror.count_entries(paths)
    entries, lost = (0, 0) if record is None else (record.entries, record.lost)
    held = judge_deletions(count, max(entries, count), parts.budget, lost)
    if held is not None and record is not None:
        plan.notes.append(f"the deletions are held for the operator: {held}")
    elif parts.settings.delete_grace_ms:
        plan.notes.append(f"deletions happen {format_duration_ms(parts.settings.delete_grace_ms)} after the rest")
    if not present:
        return
    if parts.settings.delete_grace_ms or not plan.runs:  # otherwise the upstream has shown something before
        names = parts.mirror.top_names(paths, PROBED_NAMES)
        if names:
            _add_run(plan, Stage(StageKind.PROBE, names), parts)
    _add_run(plan, Stage(StageKind.DELETE, present, most_deletions=count), parts)


def _add_run(plan: Plan, stage: Stage, parts: TreeParts, *, exact_times: bool = False) -> None:
    first = parts.sources[0]
    options = parts.options(first, exact_times=exact_times)
    command = build_command(stage, first.source, str(parts.mirror.path), options)
    plan.runs.append(Run(stage.kind, _PURPOSE[stage.kind], command))
