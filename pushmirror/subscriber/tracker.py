"""Keeps the ledger's heads in step with one publisher: takes what follows, fetches what was missed, or starts over.

The verdicts are `pushmirror.core.tracking`'s; here is what is done about them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pushmirror.core.model import Head, Heartbeat, Update, Updating
from pushmirror.core.tracking import Verdict, judge_head, judge_state, judge_update
from pushmirror.errors import MalformedMessage, ServiceError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.service_client import FetchedUpdate, HistoryGone, ServiceClient

log = logging.getLogger(__name__)

_RETRY_DELAYS_S = (1.0, 4.0, 10.0)
FIRST_CONTACT_S = 45.0
"""So long after the start a first sync waits to be told where the publisher is; a heartbeat comes every 30 s."""
_DOUBT_EVERY_MS = 60_000
LONGEST_UPDATING_MS = 6 * 3_600_000
"""An upstream that says for longer than this that it is half-way is not waited for any more: it is stuck."""


@dataclass
class _CatchingUp:
    """What one catch-up has to reach: the newest `wanted` head that was heard of meanwhile, told at `at_ms`."""

    wanted: Head | None
    at_ms: int
    doubt: bool
    """Ask for the state in any case: something that was heard contradicts what was believed before."""


class _Forked(ServiceError):
    """The history that the service handed out does not follow on what was heard."""


@dataclass(frozen=True)
class _Updating:
    """That a publisher is updating a tree: when it said so last (its clock), since when, and until when that counts."""

    said_ms: int
    since_ms: int
    until_ms: int


class Tracker:
    """Follows the `trees` of one publisher. `changed` is called with the name of a tree that got something to do."""

    def __init__(
        self,
        reactor: Any,
        trees: Iterable[str],
        ledger: Ledger,
        client: ServiceClient,
        clock_ms: Callable[[], int],
        changed: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._trees = tuple(trees)
        self._ledger = ledger
        self._client = client
        self._clock_ms = clock_ms
        self._changed = changed
        self._catching: dict[str, _CatchingUp] = {}
        self._under_way: dict[str, Deferred[None]] = {}
        self._doubted_ms: dict[str, int] = {}
        self._updating: dict[str, _Updating] = {}
        self._started_s = 0.0
        self._first_contact: Any = None
        self._stopped = False

    def start(self) -> None:
        """Ask the service about every tree: what was missed while this daemon did not run, or where a new tree is."""
        self._started_s = self._reactor.seconds()
        self._first_contact = self._reactor.callLater(FIRST_CONTACT_S, self._end_first_contact)
        self.ask_about_all()

    def ask_about_all(self) -> None:
        """Ask the service where every tree is."""
        for tree in self._trees:
            self._catch_up(tree, None, 0, doubt=True)

    def stop(self) -> None:
        """Leave off whatever is being asked."""
        self._stopped = True
        if self._first_contact is not None and self._first_contact.active():
            self._first_contact.cancel()
        for under_way in tuple(self._under_way.values()):
            under_way.cancel()

    def _end_first_contact(self) -> None:
        for tree in self._trees:
            self._changed(tree)

    def is_awaiting_head(self, tree: str) -> bool:
        """Tell whether a first sync of `tree` had better wait, because its publisher is still to say where it is."""
        return self._ledger.head(tree) is None and self._reactor.seconds() - self._started_s < FIRST_CONTACT_S

    # --- messages that are believed

    def take_update(self, update: Update, digest: str) -> Verdict:
        """Act on an announcement."""
        verdict = judge_update(self._ledger.head(update.tree), update)
        head = Head(update.epoch, update.serial, digest)
        listed = update.whole or update.changes is not None
        if verdict is Verdict.NEXT and listed:
            self._announce(FetchedUpdate(update, digest, update.changes))
            self._changed(update.tree)
        elif verdict is Verdict.NEXT:
            self._catch_up(update.tree, head, update.at_ms, doubt=False)
        else:
            self._act(update.tree, verdict, head, update.at_ms)
        return verdict

    def take_updating(self, updating: Updating) -> bool:
        """Start nothing new on a tree that its publisher is updating. Returns False for what was said before."""
        known = self._updating.get(updating.tree)
        if known is not None and updating.at_ms <= known.said_ms:
            return False
        now_ms = self._clock_ms()
        since_ms = known.since_ms if known is not None and known.until_ms > now_ms else now_ms
        until_ms = min(now_ms + updating.expires_ms - updating.at_ms, since_ms + LONGEST_UPDATING_MS)
        self._updating[updating.tree] = _Updating(updating.at_ms, since_ms, until_ms)
        self._changed(updating.tree)
        return True

    def busy_until_ms(self, tree: str) -> int | None:
        """Return until when the publisher may be updating `tree`, by its own word; None when it is not."""
        known = self._updating.get(tree)
        return known.until_ms if known is not None and known.until_ms > self._clock_ms() else None

    def _end_updating(self, tree: str) -> None:
        if tree in self._updating:
            self._updating[tree] = replace(self._updating[tree], until_ms=0)

    def take_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Act on what a heartbeat says of each tree that is followed."""
        for tree in self._trees:
            head = heartbeat.trees.get(tree)
            if head is not None:
                self._act(tree, judge_head(self._ledger.head(tree), head), head, heartbeat.at_ms)

    def _act(self, tree: str, verdict: Verdict, head: Head, at_ms: int) -> None:
        if verdict is Verdict.NEW_EPOCH:
            self._start_over(tree, head, at_ms)
        elif verdict in (Verdict.GAP, Verdict.FORK):
            self._catch_up(tree, head, at_ms, doubt=verdict is Verdict.FORK)
        elif verdict in (Verdict.OLD_EPOCH, Verdict.WENT_BACK) and self._may_doubt(tree):
            self._catch_up(tree, None, at_ms, doubt=True)

    def _may_doubt(self, tree: str) -> bool:
        """Old messages can be replayed by anybody: they make us ask the publisher, but not more than once a minute."""
        now_ms = self._clock_ms()
        last_ms = self._doubted_ms.get(tree)
        if last_ms is not None and 0 <= now_ms - last_ms < _DOUBT_EVERY_MS:
            return False
        self._doubted_ms[tree] = now_ms
        return True

    def _announce(self, fetched: FetchedUpdate) -> None:
        update = fetched.update
        self._end_updating(update.tree)
        self._ledger.announce(update.tree, update, fetched.digest, fetched.changes, self._clock_ms())
        log.info(
            "tree %s: announced serial %d, %d changed, %d deleted%s",
            update.tree, update.serial, update.changed, update.deleted, ", the whole tree" if update.whole else "",
        )  # fmt: skip

    def _start_over(self, tree: str, head: Head, at_ms: int, *, forked: bool = False) -> None:
        before = self._ledger.head(tree)
        same = not forked and before is not None and before.epoch == head.epoch and before.serial < head.serial
        self._ledger.start_over(tree, head, at_ms, self._clock_ms(), same_history=same)
        if before is not None:
            log.warning(
                "tree %s: from serial %d of epoch %s to serial %d of epoch %s by a full sync, for want of the updates",
                tree, before.serial, before.epoch, head.serial, head.epoch,
            )  # fmt: skip
        self._changed(tree)

    # --- catching up

    def _catch_up(self, tree: str, wanted: Head | None, at_ms: int, *, doubt: bool) -> None:
        catching = self._catching.get(tree)
        if catching is not None:
            catching.doubt |= doubt
            if wanted is not None:
                catching.wanted, catching.at_ms = wanted, at_ms
            return
        self._catching[tree] = _CatchingUp(wanted, at_ms, doubt)
        under_way = Deferred.fromCoroutine(self._catch_up_until_done(tree))
        if not under_way.called:
            self._under_way[tree] = under_way
        under_way.addBoth(self._finish_catching_up, tree)

    def _finish_catching_up(self, result: Any, tree: str) -> None:
        self._under_way.pop(tree, None)
        self._catching.pop(tree, None)
        if result is not None and not self._is_cancelled(result):
            log.error("tree %s: catching up failed: %s", tree, result.getTraceback())
        self._changed(tree)

    @staticmethod
    def _is_cancelled(result: Any) -> bool:
        from twisted.internet.defer import CancelledError

        return bool(result.check(CancelledError))

    async def _catch_up_until_done(self, tree: str) -> None:
        for delay_s in (*_RETRY_DELAYS_S, None):
            try:
                if await self._ask_service(tree):
                    return
            except (ServiceError, MalformedMessage) as error:
                if self._stopped:
                    return
                log.warning("tree %s: the service of its upstream is of no help: %s", tree, error)
            if delay_s is not None:
                await deferLater(self._reactor, delay_s)
        self._give_up(tree)

    def _give_up(self, tree: str) -> None:
        catching, head = self._catching[tree], self._ledger.head(tree)
        wanted = catching.wanted
        # What is believed may have moved on meanwhile, also to a younger epoch; nobody goes back to what was wanted.
        if wanted is not None and judge_head(head, wanted) in (Verdict.NEW_EPOCH, Verdict.GAP, Verdict.FORK):
            self._start_over(tree, wanted, catching.at_ms)

    async def _ask_service(self, tree: str) -> bool:
        """Fetch what was missed, or learn that it is not to be had. Returns whether all that was wanted is known."""
        catching = self._catching[tree]
        complete = forked = False
        try:
            complete = await self._fetch(tree)
        except _Forked:
            forked = True
        head = self._ledger.head(tree)
        if complete and not catching.doubt and (catching.wanted is None or _covers(head, catching.wanted)):
            return True
        state = await self._client.state(tree)
        catching.doubt = False
        verdict = judge_state(self._ledger.head(tree), state)
        if verdict in (Verdict.NEW_EPOCH, Verdict.FORK) or (forked and verdict is Verdict.GAP):
            self._start_over(tree, state.head, self._clock_ms(), forked=forked)
            return True
        return verdict is not Verdict.GAP

    async def _fetch(self, tree: str) -> bool:
        """Record the updates after what was heard; False when they are not kept. Raises _Forked, ServiceError."""
        try:
            while (head := self._ledger.head(tree)) is not None:
                if not await self._client.updates(tree, head.epoch, head.serial, self._take_fetched):
                    return True
                if self._ledger.head(tree) == head:
                    raise ServiceError("it hands out updates that were not asked for")
                self._changed(tree)
        except HistoryGone:
            pass
        return False

    def _take_fetched(self, fetched: FetchedUpdate) -> None:
        verdict = judge_update(self._ledger.head(fetched.update.tree), fetched.update)
        if verdict is Verdict.NEXT:
            self._announce(fetched)
        elif verdict is not Verdict.NOTHING_NEW:
            raise _Forked("the history does not follow on what was heard")


def _covers(head: Head | None, wanted: Head) -> bool:
    return head is not None and head.epoch == wanted.epoch and head.serial >= wanted.serial
