"""The stages of a full sync: everything is brought, nothing is deleted, and what is surplus is listed."""

from __future__ import annotations

import logging

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import shorten
from pushmirror.subscriber.findings import Findings
from pushmirror.subscriber.metadata import MetadataAside
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.runs import JobStopped, Runs

log = logging.getLogger(__name__)

_MAX_ROUNDS = 5


class WholeTree:
    """The whole tree of `parts`, brought by `runs`. `findings` hears of all that was not as it should be."""

    def __init__(self, parts: TreeParts, runs: Runs, findings: Findings) -> None:
        self._parts = parts
        self._mirror = parts.mirror
        self._runs = runs
        self._findings = findings

    async def check_plan(self) -> None:
        """Judge a dry run of a first sync into a folder that has content. Raises JobStopped if it would do harm."""
        result = await self._runs.run(Stage(StageKind.PLAN))
        links = sorted(path for path in result.items.new_directories if self._mirror.is_link(path))
        if links:
            names = ", ".join(shorten(path) for path in links[:5])
            raise JobStopped(
                Judgement(
                    Outcome.FAILED,
                    f"symbolic links stand in {self._mirror.path} where the upstream has directories: {names}. A sync "
                    "would replace them. Mirror what they lead to as a tree of its own, or mount it there with "
                    "`staging_dir` set; then start again",
                )
            )
        log.info(
            "tree %s: adopting %s: %d entries upstream, %d new here, %d surplus", self._parts.name, self._mirror.path,
            result.items.entries or 0, result.items.created, len(result.items.deleted),
        )  # fmt: skip

    async def fetch(self, *, may_wait: bool) -> int:
        """Bring everything; metadata is switched only if it did not change upstream while the payload was brought.

        Returns the time of the tree's root. With `may_wait` JobStopped is raised while the upstream says that it is
        half-way through an update of its own.
        """
        aside = MetadataAside(self._parts, self._runs)
        for round_number in range(_MAX_ROUNDS):
            changed = await aside.list_changed(may_wait=may_wait) if self._parts.profile else ()
            fresh = await aside.fetch(changed, frozenset(changed))
            if round_number and not fresh:
                break
            if fresh:
                self._findings.take_paths(path for path in changed if not self._mirror.is_directory(path))
            result = await self._runs.run(Stage(StageKind.WHOLE))
            await self._runs.check_twins(StageKind.PAYLOAD, result)
            self._findings.take_run(result.items)
            self._runs.sum.incomplete.update(result.notes.unreadable)
            root_mtime_ns = self._mirror.root_mtime_ns()
            if not self._parts.profile:
                break
        else:
            reason = f"the upstream's metadata changed in each of {_MAX_ROUNDS} rounds"
            raise JobStopped(Judgement(Outcome.RETRY, reason, of_source=True))
        await aside.switch()
        return root_mtime_ns
