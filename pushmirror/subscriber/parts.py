"""What the jobs of one tree are made of, from its settings; it does not change while the daemon runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.command import RunOptions, Selection
from pushmirror.core.filters import Rules, rsync_arguments
from pushmirror.core.model import DeleteBudget, Stage, StageKind
from pushmirror.core.paths import TreePath
from pushmirror.core.profiles import Profile, metadata_arguments, payload_arguments
from pushmirror.core.source import Source, parse_source
from pushmirror.core.sources import Proof, compose_identity
from pushmirror.core.watchdog import Limits
from pushmirror.settings.subscriber import SubscriberTree, TreeSource
from pushmirror.subscriber.lock import TreeLock
from pushmirror.subscriber.mirror import Mirror

_FILLING = (StageKind.METADATA, StageKind.PAYLOAD, StageKind.DIRECTORIES, StageKind.WHOLE)


@dataclass(frozen=True)
class SourceParts:
    """One source of a tree: its `url`, and by which relay or marker file it is known what it has."""

    url: str
    source: Source
    relay: str | None = None
    marker: TreePath | None = None
    password_file: Path | None = None

    @property
    def proof(self) -> Proof:
        """How it is known what the source has."""
        if self.relay is not None:
            return Proof.RELAY
        return Proof.NONE if self.marker is None else Proof.MARKER


@dataclass(frozen=True)
class TreeParts:
    """One tree: where from, where to, and how."""

    name: str
    settings: SubscriberTree
    sources: tuple[SourceParts, ...]
    """In order of preference."""
    mirror: Mirror
    lock: TreeLock
    budget: DeleteBudget
    profile: Profile
    rules: Rules
    selection: Selection

    @property
    def shape(self) -> str:
        """What makes a full sync necessary when it changes: which paths are mirrored, and which are metadata."""
        return " ".join((*self.selection.everything, *self.selection.metadata))

    @property
    def identity(self) -> str:
        """What must not change without a new first sync: another folder or origin makes what the ledger knows void."""
        origins = [source.url for source in self.sources if source.proof is Proof.NONE]
        return compose_identity(self.settings.upstream, origins, str(self.settings.path))

    def options(self, source: SourceParts, *, exact_times: bool) -> RunOptions:
        """Return what the settings say about each rsync run that reads from `source`."""
        tree = self.settings
        bandwidth = tree.bandwidth_bytes_per_second
        return RunOptions(
            temp_dir=self.mirror.temp_dir,
            metadata_dir=os.fsdecode(self.mirror.metadata_root),
            io_timeout_s=_seconds(tree.io_timeout_ms),
            connect_timeout_s=_seconds(tree.connect_timeout_ms),
            bandwidth_kib_per_s=None if bandwidth is None else max(1, bandwidth // 1024),
            password_file=None if source.password_file is None else str(source.password_file),
            exact_times=exact_times,
            selection=self.selection,
        )

    def limits(self, stage: Stage) -> Limits:
        """Return when a run for `stage` is ended. A run over the whole tree may take days; a list may not."""
        tree = self.settings
        return Limits(
            no_progress_s=tree.no_progress_ms / 1000,
            wall_clock_s=tree.list_job_limit_ms / 1000 if stage.paths else None,
            output_bytes=tree.output_limit_bytes,
            beginning_s=tree.list_job_limit_ms / 1000,
            beginning_bytes=tree.output_limit_bytes,
            least_bytes_per_s=tree.least_rate_bytes_per_second,
            memory_bytes=tree.memory_limit_bytes,
            floor_bytes=tree.min_free_bytes if stage.kind in _FILLING else 0,
        )

    @property
    def writable(self) -> tuple[str, ...]:
        """The folders that rsync has to write to."""
        return (str(self.settings.path), str(self.settings.staging_path))


def _seconds(duration_ms: int) -> int:
    return max(1, duration_ms // 1000)


def _make_source(settings: SubscriberTree, source: TreeSource) -> SourceParts:
    """The tree's password is for the origin: no other server gets to see what can be guessed from it."""
    is_origin = source.relay is None and source.marker is None
    return SourceParts(
        url=source.url,
        source=parse_source(source.url),
        relay=source.relay,
        marker=source.marker,
        password_file=source.password_file or (settings.password_file if is_origin else None),
    )


def make_parts(name: str, settings: SubscriberTree, locks: Path) -> TreeParts:
    """Return the parts of the tree `name`, with its lock in the folder `locks`."""
    budget = settings.delete_budget
    profile, rules = settings.repository_profile, settings.rules
    selection = Selection(rsync_arguments(rules), metadata_arguments(profile, rules), payload_arguments(profile, rules))
    return TreeParts(
        name=name,
        settings=settings,
        sources=tuple(_make_source(settings, source) for source in settings.all_sources),
        mirror=Mirror(settings.path, settings.staging_dir),
        lock=TreeLock(locks / f"{name}.lock"),
        budget=DeleteBudget(budget.count, budget.percent, budget.limit),
        profile=profile,
        rules=rules,
        selection=selection,
    )
