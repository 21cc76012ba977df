"""Asks a publisher's service where one tree is and what was missed of it: one question at a time, however often."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from pushmirror.core.leaps import Leap, LeapBounds, confirms, find_leap
from pushmirror.core.messages import epoch_order
from pushmirror.core.model import Head, TreeState
from pushmirror.core.testimony import vouches
from pushmirror.core.tracking import Verdict, judge_head, judge_state, newest_head, shows_fork
from pushmirror.errors import MalformedMessage, ServiceError, StateError
from pushmirror.logs import Throttle
from pushmirror.subscriber.history_page import Forked, HistoryPage, Leapt
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.recorder import Recorder
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.service_client import HistoryGone

log = logging.getLogger(__name__)

_RETRY_DELAYS_S = (1.0, 4.0, 10.0, 20.0, 20.0)
"""A service that is started anew, or a network that is gone for a moment, must not cost a full sync."""
_FRUITLESS_AT_ONCE = 2
_FRUITLESS_EVERY_MS = 1000
"""Whoever tells of ever more that nobody has, such as a relay that lies, has the publisher asked no more often."""
HOLD_WITHOUT_PROGRESS_MS = 10_000
"""List jobs wait for the rest of the history as long as an update comes at least this often,"""
HOLD_AT_MOST_MS = 5 * 60_000
"""and no longer than this in all."""


class Service(Protocol):
    """Whoever is asked; see `ServiceClient`."""

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[HeardUpdate], None]) -> int: ...

    async def state(self, tree: str) -> TreeState: ...

    async def show_header(self, body: bytes) -> None: ...

    @property
    def has_origin(self) -> bool: ...

    def expects(self, tree: str, wanted: Head) -> bool: ...

    def has_more(self, tree: str, head: Head) -> bool: ...


@dataclass
class _Aim:
    """What a catch-up has to reach: the newest `wanted` head that was heard of meanwhile, told at `at_ms`."""

    wanted: Head | None
    at_ms: int
    doubt: bool
    """Ask for the state in any case: something that was heard contradicts what was believed before."""
    testimony: bytes | None
    """The message in which the publisher itself told of what is wanted; None when only a relay did."""
    added: int = 0
    """How often something was added to it. No answer settles what was heard after its question had been asked."""

    def add(self, wanted: Head | None, at_ms: int, testimony: bytes | None, *, doubt: bool) -> None:
        """Have this reached as well."""
        self.added += 1
        self.doubt |= doubt
        if wanted is not None and newest_head(self.wanted, wanted) is wanted:
            testimony = testimony or (self.testimony if wanted == self.wanted else None)
            self.wanted, self.at_ms, self.testimony = wanted, at_ms, testimony


class CatchingUp:
    """Catches up on `tree`."""

    def __init__(
        self,
        reactor: Any,
        tree: str,
        ledger: Ledger,
        recorder: Recorder,
        client: Service,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        bounds: LeapBounds,
    ) -> None:
        self._reactor = reactor
        self._tree = tree
        self._ledger = ledger
        self._recorder = recorder
        self._client = client
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._bounds = bounds
        self._confirmed: Head | None = None
        self._failed = False
        self._throttle = Throttle(steady_ms)
        self._aim: _Aim | None = None
        self._under_way: Deferred[None] | None = None
        self._stopped = False
        self._since_ms = 0
        self._progress_ms: int | None = None
        self._fruitless = 0
        self._answered_ms = 0

    def want(self, wanted: Head | None, at_ms: int, *, doubt: bool, testimony: bytes | None = None) -> None:
        """See to it that all up to `wanted` (None: whatever there is) is recorded; what is asked already goes on.

        `testimony` is the message in which the publisher itself told of it; without one, nobody starts over there.
        """
        if self._aim is not None:
            self._aim.add(wanted, at_ms, testimony, doubt=doubt)
            return
        self._aim = _Aim(wanted, at_ms, doubt, testimony)
        self._confirmed, self._failed = None, False
        self._since_ms, self._progress_ms = self._steady_ms(), None
        under_way = Deferred.fromCoroutine(self._ask_until_done(self._aim))
        if not under_way.called:
            self._under_way = under_way
        under_way.addBoth(self._finish)

    @property
    def is_asking(self) -> bool:
        """Whether somebody is being asked."""
        return self._aim is not None

    @property
    def hopeful(self) -> bool:
        """Whether somebody is being asked, and nobody has failed to answer yet."""
        return self._aim is not None and not self._failed

    def hold_left_ms(self) -> int | None:
        """Return how long a list job should wait for the rest of what is being fetched; None when it need not."""
        if self._aim is None or self._progress_ms is None:
            return None
        until_ms = min(self._progress_ms + HOLD_WITHOUT_PROGRESS_MS, self._since_ms + HOLD_AT_MOST_MS)
        left_ms = until_ms - self._steady_ms()
        return left_ms if left_ms > 0 else None

    def stop(self) -> None:
        """Leave off asking."""
        self._stopped = True
        # Whoever is left off has failed, and then the next one may be asked: as often as there are services.
        while self._under_way is not None:
            self._under_way.cancel()

    def _finish(self, result: Any) -> None:
        self._under_way = self._aim = None
        if result is not None and result.check(StateError):
            self._complain(result.value)
        elif result is not None and not result.check(CancelledError):
            log.error("tree %s: catching up failed: %s", self._tree, result.getTraceback())
        self._recorder.changed(self._tree)

    def _complain(self, error: StateError) -> None:
        suppressed = self._throttle.allow("state")
        if suppressed is not None:
            log.error("tree %s: what was missed is not recorded: %s (%d more before)", self._tree, error, suppressed)

    async def _ask_until_done(self, aim: _Aim) -> None:
        tries_left = len(_RETRY_DELAYS_S)
        while True:
            await self._keep_pace()
            head, added = self._ledger.head(self._tree), aim.added
            answered = False
            try:
                answered = await self._ask(aim, last=not tries_left)
            except (ServiceError, MalformedMessage) as error:
                if self._stopped:
                    return
                log.warning("tree %s: the service of its upstream is of no help: %s", self._tree, error)
                self._failed = True
                self._hold_leap(aim)
            self._note_answer(answered, moved=self._ledger.head(self._tree) != head)
            if answered and (aim.added == added or self._is_reached(aim)):
                return
            if self._ledger.head(self._tree) is None:
                self._give_up(aim)  # a first sync waits for whoever answers at once, and for nobody else
            if self._ledger.head(self._tree) != head:
                tries_left = len(_RETRY_DELAYS_S)  # it is of some help, slow as it may be
            if answered:
                continue  # something was heard while it answered
            if not tries_left:
                break
            await deferLater(self._reactor, _RETRY_DELAYS_S[-tries_left])
            tries_left -= 1
        self._give_up(aim)

    def _note_answer(self, answered: bool, *, moved: bool) -> None:
        self._fruitless = 0 if moved else self._fruitless + int(answered)
        self._answered_ms = self._steady_ms()

    async def _keep_pace(self) -> None:
        """Wait a moment before a question when the last answers, a moment ago, led to nothing."""
        left_ms = self._answered_ms + _FRUITLESS_EVERY_MS - self._steady_ms()
        if self._fruitless >= _FRUITLESS_AT_ONCE and left_ms > 0:
            await deferLater(self._reactor, left_ms / 1000)

    def _is_reached(self, aim: _Aim) -> bool:
        return not aim.doubt and (aim.wanted is None or _covers(self._ledger.head(self._tree), aim.wanted))

    def _give_up(self, aim: _Aim) -> None:
        # What is believed may have moved on meanwhile, also to a younger epoch; nobody goes back to what was wanted.
        lost = (Verdict.NEW_EPOCH, Verdict.GAP, Verdict.FORK)
        if aim.wanted is None or self._client.expects(self._tree, aim.wanted):
            return
        if self._ledger.is_over(self._tree, aim.wanted):
            log.warning(
                "tree %s: serial %d of epoch %s is not believed: that journal is over, as far as is known, and nobody"
                " confirms it", self._tree, aim.wanted.serial, aim.wanted.epoch,
            )  # fmt: skip
        elif judge_head(self._ledger.head(self._tree), aim.wanted) not in lost or self._hold_leap(aim):
            return
        elif aim.testimony is not None:  # nobody starts over on the word of a relay alone
            self._recorder.start_over(self._tree, aim.wanted, aim.at_ms, testimony=aim.testimony)

    def _hold_leap(self, aim: _Aim) -> bool:
        """Hold what is wanted for the operator, if it is too far away to be believed unconfirmed. Returns whether it
        is."""
        head, now_ms = self._ledger.head(self._tree), self._clock_ms()
        reason = None if aim.wanted is None else find_leap(head, aim.wanted, self._bounds, now_ms)
        if aim.wanted is None or reason is None or self._ledger.is_over(self._tree, aim.wanted):
            return False
        self._recorder.hold_leap(self._tree, Leap(aim.wanted, aim.at_ms, now_ms, reason))
        return True

    async def _ask(self, aim: _Aim, *, last: bool) -> bool:
        """Fetch what was missed, or learn that it is not to be had. Returns whether all that was wanted is known."""
        complete = forked = False
        try:
            complete = await self._fetch()
        except Forked:
            forked = True
        except Leapt as leap:
            log.info("tree %s: %s: the publisher is asked whether it is there", self._tree, leap)
        if complete and self._is_reached(aim):
            return True
        wanted = aim.wanted  # what is told from here on may be newer than the answer
        state = await self._ask_state(aim)
        if forked or shows_fork(self._ledger.head(self._tree), state.head):
            state = await self._prove_fork(state)
        self._note(state, wanted)
        verdict = judge_state(self._ledger.head(self._tree), state)
        if not last and self._origin_may_know_more(state, verdict):
            raise ServiceError("only a relay answers, and it does not know the way from what was heard")
        if verdict in (Verdict.NEW_EPOCH, Verdict.FORK) or (forked and verdict is Verdict.GAP):
            if self._ledger.head(self._tree) is not None and not _is_proven(state):
                raise ServiceError("only a relay answers, and has nothing that the publisher signed about what it says")
            self._recorder.start_over(self._tree, state.head, None, forked=forked, testimony=state.testimony)
            return not self._client.has_more(self._tree, state.head) or await self._fetch()
        self._recorder.keep_testimony(self._tree, state)
        covered = aim.wanted is None or _covers(self._ledger.head(self._tree), aim.wanted)
        return verdict is not Verdict.GAP and (state.of_origin or covered)

    async def _ask_state(self, aim: _Aim) -> TreeState:
        """Return an answer to every doubt so far; one that comes up while it is on its way needs another one."""
        doubt, aim.doubt = aim.doubt, False
        try:
            return await self._client.state(self._tree)
        except (ServiceError, MalformedMessage):
            aim.doubt |= doubt
            raise

    def _note(self, state: TreeState, wanted: Head | None) -> None:
        """Take note of what a fresh word settles besides: jumps that it tells, and journals that it does not."""
        if not _is_proven(state):  # whoever tells of a jump would confirm it as well
            return
        self._confirmed = state.head
        leap = self._ledger.leap(self._tree)
        if leap is not None and (state.of_origin or confirms(state.head, leap.head)):
            self._recorder.settle_leap(self._tree)
        if state.of_origin and wanted is not None and epoch_order(wanted.epoch) > epoch_order(state.head.epoch):
            self._ledger.note_over(self._tree, wanted.epoch)

    def _origin_may_know_more(self, state: TreeState, verdict: Verdict) -> bool:
        """Whether a full sync on a relay's word may be spared: the publisher itself may answer in a moment."""
        lost = verdict in (Verdict.NEW_EPOCH, Verdict.FORK) and self._ledger.head(self._tree) is not None
        return lost and not state.of_origin and self._client.has_origin

    async def _prove_fork(self, state: TreeState) -> TreeState:
        """Show the publisher what it signed and does not hold any more; return its state after that.

        Its journal gets a younger epoch by that, which every subscriber follows. Without help it goes on as it is.
        """
        head, header = self._ledger.head(self._tree), self._ledger.header(self._tree)
        if head is None or header is None or head.epoch != state.head.epoch:
            return state
        try:
            await self._client.show_header(header)
            return await self._client.state(self._tree)
        except (ServiceError, MalformedMessage) as error:
            log.warning("tree %s: the proof that its journal forked was not taken: %s", self._tree, error)
            return state

    async def _fetch(self) -> bool:
        """Record the updates after what was heard; False when they are not kept. Raises Forked, ServiceError."""
        try:
            while (head := self._ledger.head(self._tree)) is not None:
                if not await self._fetch_page(head):
                    return True
                if self._ledger.head(self._tree) == head:
                    raise ServiceError("it hands out updates that were not asked for")
        except HistoryGone:
            pass
        return False

    async def _fetch_page(self, head: Head) -> int:
        """Record a page of the updates after `head`; what came before an error is good. Returns how many came."""
        page = HistoryPage(self._tree, head, self._ledger, self._recorder, self._is_too_far)

        def take(fetched: HeardUpdate) -> None:
            page.take(fetched)
            self._progress_ms = self._steady_ms()

        try:
            return await self._client.updates(self._tree, head.epoch, head.serial, take)
        finally:
            page.commit()

    def _is_too_far(self, heard: Head, told: Head) -> bool:
        """Tell whether `told` is too far from what was `heard` to follow on it, and no fresh word has confirmed it."""
        leap = find_leap(heard, told, self._bounds, self._clock_ms())
        return leap is not None and not confirms(self._confirmed, told)


def _is_proven(state: TreeState) -> bool:
    """Tell whether a word on where a tree is is the publisher's own: told by itself, or signed and handed on."""
    return state.of_origin or (state.testimony is not None and vouches(state.testimony, state.tree, state.head))


def _covers(head: Head | None, wanted: Head) -> bool:
    return head is not None and head.epoch == wanted.epoch and head.serial >= wanted.serial
