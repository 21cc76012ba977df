"""Whether a job may begin with the room that there is on the disk of its mirror."""

from __future__ import annotations

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import TreePath
from pushmirror.core.space import judge_room
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.runs import JobStopped, Runs


class RoomCheck:
    """Holds what a job of the tree of `parts` is to bring against the room for it."""

    def __init__(self, parts: TreeParts, runs: Runs) -> None:
        self._mirror = parts.mirror
        self._floor_bytes = parts.settings.min_free_bytes
        self._runs = runs

    def check_floor(self) -> None:
        """Raise JobStopped when less is free than should be. Raises OSError."""
        self._check(0)

    async def check(self, paths: tuple[TreePath, ...], announced_bytes: int) -> None:
        """Raise JobStopped when there is no room for `paths`, which are `announced_bytes` by their publisher's word.

        That word may be wrong, and much of it may be here: before it keeps a job from beginning the upstream is asked.
        """
        if judge_room(self._mirror.room(), self._floor_bytes, announced_bytes) is None or not paths:
            return
        probe = await self._runs.run(Stage(StageKind.PROBE, paths))
        replaced = await self._runs.in_thread(self._mirror.count_bytes, probe.items.transferred)
        self._check(max(0, probe.items.transferred_bytes - replaced))

    def _check(self, growth_bytes: int) -> None:
        reason = judge_room(self._mirror.room(), self._floor_bytes, growth_bytes)
        if reason is not None:
            raise JobStopped(Judgement(Outcome.FULL, reason), growth_bytes=growth_bytes)
