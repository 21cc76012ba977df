"""What is known of the sources of one tree.

It is kept in memory alone: after a restart each source is as good as its turn in the settings, and the first failed
connection teaches again what was forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Head, RelayHead
from pushmirror.core.schedule import LONGEST_RETRY_MS, Work, busy_delay_ms, retry_delay_ms
from pushmirror.core.sources import (
    Choice,
    Known,
    MarkerVerdict,
    Wanted,
    choose_source,
    describe_source,
    judge_source,
    sum_up,
)
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.records import NEVER, TreeRecord

log = logging.getLogger(__name__)

RelayHeads = Callable[[str, str], RelayHead | None]
"""Returns where a relay is, by the names of tree and relay; None when that is not known."""

_VERDICT_KEPT_MS = 30_000
"""A marker is not looked at again for the same serial before this."""
_LOOK_AGAIN_MS = 60_000


def no_relay(tree: str, relay: str) -> RelayHead | None:
    """Return where a relay is, when none is listened to."""
    return None


@dataclass
class _Memory:
    """What was found out about one source by using it."""

    failures: int = 0
    trouble: str | None = None
    rests_until_ms: int = 0
    verdict: MarkerVerdict | None = None
    verdict_for: tuple[str, int] | None = None
    verdict_until_ms: int = 0


class TreeSources:
    """The sources of the tree of `parts`, with what is known of each."""

    def __init__(
        self, parts: TreeParts, relay_head: RelayHeads, clock_ms: Callable[[], int], random: Callable[[], float]
    ) -> None:
        self.parts = parts
        self._relay_head = relay_head
        self._clock_ms = clock_ms
        self._random = random
        self._memories = [_Memory() for _ in parts.sources]
        self._in_use: int | None = None

    def choose(self, wanted: Wanted, tried: Iterable[int]) -> Choice | None:
        """Return which source a job reads from that wants this and has `tried` those in vain; None: none will do."""
        return choose_source(self._known(wanted), wanted, tried, self._clock_ms())

    def _known(self, wanted: Wanted) -> list[Known]:
        return [self._known_of(index, wanted) for index in range(len(self._memories))]

    def _known_of(self, index: int, wanted: Wanted) -> Known:
        source, memory = self.parts.sources[index], self._memories[index]
        holds = memory.verdict_for == _key(wanted) and self._lasts(memory.verdict_until_ms, _VERDICT_KEPT_MS)
        resting = self._lasts(memory.rests_until_ms, LONGEST_RETRY_MS)
        return Known(
            proof=source.proof,
            relay=None if source.relay is None else self._relay_head(self.parts.name, source.relay),
            marker=memory.verdict if holds else None,
            trouble=memory.trouble,
            rests_until_ms=memory.rests_until_ms if resting else None,
        )

    def _lasts(self, until_ms: int, longest_ms: int) -> bool:
        """Tell whether a time is still to come; one that is too far away was read from a clock that was set back."""
        return 0 < until_ms - self._clock_ms() <= longest_ms

    def sum_up(self, wanted: Wanted, failed: Mapping[int, Judgement]) -> Judgement:
        """Return what it means that no source will do: some have `failed`, the others do not have what is wanted."""
        found = dict(failed)
        for index, known in enumerate(self._known(wanted)):
            reason = judge_source(known, wanted).reason or "it is not used"
            found.setdefault(index, Judgement(Outcome.BUSY, reason))
        return sum_up({index + 1: judgement for index, judgement in found.items()})

    def note_verdict(self, index: int, wanted: Wanted, verdict: MarkerVerdict) -> None:
        """Remember for a short while what a look at the marker of a source has shown."""
        memory = self._memories[index]
        memory.verdict, memory.verdict_for = verdict, _key(wanted)
        memory.verdict_until_ms = self._clock_ms() + _VERDICT_KEPT_MS

    def cleaned(self, index: int) -> int | None:
        """Return up to which serial a source has done its deletions; None for one that never has any left to do."""
        relay = self.parts.sources[index].relay
        if relay is None:
            return None
        head = self._relay_head(self.parts.name, relay)
        return NEVER if head is None else head.cleaned

    def use(self, index: int) -> None:
        """Take note that a job reads from a source now."""
        if index != self._in_use and len(self._memories) > 1:
            log.info("tree %s: reads from %s", self.parts.name, self.parts.sources[index].url)
        self._in_use = index

    def fail(self, index: int, judgement: Judgement) -> None:
        """Take note that a source did not do what it was asked for, so that it rests for a while."""
        memory, busy = self._memories[index], judgement.outcome is Outcome.BUSY
        memory.failures += not busy
        delay_ms = busy_delay_ms(self._random()) if busy else retry_delay_ms(memory.failures, self._random())
        memory.trouble, memory.rests_until_ms = judgement.reason, self._clock_ms() + delay_ms
        memory.verdict_for = None
        if len(self._memories) > 1:
            log.warning("tree %s: source %s: %s", self.parts.name, self.parts.sources[index].url, judgement.reason)

    def succeed(self, index: int) -> None:
        """Forget the failures of a source: it did what it was asked for."""
        memory = self._memories[index]
        memory.failures, memory.trouble, memory.rests_until_ms = 0, None, 0

    def blocked(self, record: TreeRecord) -> dict[Work, int]:
        """Return for which work of the tree no source is known to have what is wanted, and when to look again."""
        now_ms = self._clock_ms()
        ends_ms = [memory.verdict_until_ms for memory in self._memories if memory.verdict_until_ms > now_ms]
        again_ms = min([now_ms + _LOOK_AGAIN_MS, *ends_ms])
        return {work: again_ms for work in Work if self.choose(wanted_by(work, record), ()) is None}

    def why_blocked(self, record: TreeRecord) -> str | None:
        """Return why what there is to do for the tree finds no source, None when it does, or there is nothing to do."""
        work = _next_work(record)
        if work is None or self.choose(wanted := wanted_by(work, record), ()) is not None:
            return None
        return self.sum_up(wanted, {}).reason

    def show(self, record: TreeRecord) -> dict[str, Any]:
        """Return what ``status`` tells of the sources: the one in use, and the state of each."""
        wanted = wanted_by(Work.LIST, record)
        described = [describe_source(known, wanted, self._clock_ms()) for known in self._known(wanted)]
        return {
            "source": None if self._in_use is None else self.parts.sources[self._in_use].url,
            "sources": [
                {"url": source.url, "state": state.value, "reason": reason}
                for source, (state, reason) in zip(self.parts.sources, described, strict=True)
            ],
        }


def _next_work(record: TreeRecord) -> Work | None:
    if record.last_full_sync_ms is None or record.whole_pending:
        return Work.WHOLE
    if record.pending_updates:
        return Work.LIST
    return Work.CLEAN if record.deletion_due_ms is not None else None


def wanted_by(work: Work, record: TreeRecord) -> Wanted:
    """Return what a job of the tree of `record` needs of its source."""
    head = record.head
    if work is Work.CLEAN:
        return wanted_for_deletions(record, record.applied)
    if head is None:
        return Wanted(None, NEVER)
    if work is Work.LIST:
        return Wanted(head, min(record.applied + 1, head.serial), clean=record.recheck_due)
    least = head.serial if record.whole_pending or record.applied == NEVER else record.applied
    clean = record.recheck_due if record.recheck_whole_due is None else record.recheck_whole_due
    return Wanted(head, least, clean=clean)


def wanted_for_deletions(record: TreeRecord, applied: int) -> Wanted:
    """Return what deleting needs, when everything up to `applied` is in place: nothing that is older."""
    head = None if record.head is None else Head(record.head.epoch, applied, None)
    return Wanted(head, applied, deleting=True)


def _key(wanted: Wanted) -> tuple[str, int]:
    return ("", NEVER) if wanted.head is None else (wanted.head.epoch, wanted.head.serial)
