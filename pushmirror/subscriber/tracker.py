"""Keeps the ledger's heads in step with one publisher: takes what follows, fetches what was missed, or starts over.

The verdicts are `pushmirror.core.tracking`'s; here is what is done about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pushmirror.core.leaps import LeapBounds, find_leap
from pushmirror.core.model import Head, Heartbeat, RelayHead, Updating
from pushmirror.core.relaying import judge_relay
from pushmirror.core.tracking import Verdict, judge_head, judge_update
from pushmirror.subscriber.catching_up import CatchingUp, Service
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.recorder import Recorder
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.updating import UpdatingTrees

FIRST_CONTACT_S = 45.0
"""So long after the start a first sync waits to be told where the publisher is; a heartbeat comes every 30 s."""
_AHEAD = (Verdict.NEXT, Verdict.GAP, Verdict.FORK, Verdict.NEW_EPOCH)
_FAR = "far"
"""In the place of an epoch: what is too far away is asked about once a minute, whatever epochs it tells."""
DEFAULT_BOUNDS = LeapBounds(serials=100_000, epoch_ms=86_400_000)
_DOUBT_EVERY_MS = 60_000
_MOST_DOUBTS = 10
"""So many epochs of a tree are asked about in a minute: each answer tells which one is right, and not of one alone."""


class Tracker:
    """Follows the `trees` of one publisher. `changed` is called with the name of a tree that got something to do."""

    def __init__(
        self,
        reactor: Any,
        trees: Iterable[str],
        ledger: Ledger,
        client: Service,
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        changed: Callable[[str], None],
        bounds: LeapBounds = DEFAULT_BOUNDS,
    ) -> None:
        self._reactor = reactor
        self._trees = tuple(trees)
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._steady_ms = steady_ms
        self._bounds = bounds
        self._updating = UpdatingTrees(steady_ms)
        self._recorder = Recorder(ledger, self._updating, clock_ms, changed)
        self._catching_up = {
            tree: CatchingUp(reactor, tree, ledger, self._recorder, client, clock_ms, steady_ms, bounds)
            for tree in self._trees
        }
        self._doubted_ms: dict[str, dict[str | None, int]] = {tree: {} for tree in self._trees}
        self._started_s = 0.0
        self._first_contact: Any = None

    def start(self) -> None:
        """Ask the service about every tree: what was missed while this daemon did not run, or where a new tree is."""
        self._started_s = self._reactor.seconds()
        self._first_contact = self._reactor.callLater(FIRST_CONTACT_S, self._end_first_contact)
        self.ask_about_all()

    def ask_about_all(self) -> None:
        """Ask the service where every tree is."""
        for catching_up in self._catching_up.values():
            catching_up.want(None, 0, doubt=True)

    def ask_for_a_sign(self) -> None:
        """Ask the service where one tree is: each answer tells the publisher's clock as well."""
        for catching_up in tuple(self._catching_up.values())[:1]:
            catching_up.want(None, 0, doubt=True)

    def stop(self) -> None:
        """Leave off whatever is being asked."""
        if self._first_contact is not None and self._first_contact.active():
            self._first_contact.cancel()
        for catching_up in self._catching_up.values():
            catching_up.stop()

    def _end_first_contact(self) -> None:
        for tree in self._trees:
            self._recorder.changed(tree)

    def is_awaiting_head(self, tree: str) -> bool:
        """Tell whether a first sync of `tree` had better wait, because its publisher is still to say where it is."""
        return self._ledger.head(tree) is None and self._reactor.seconds() - self._started_s < FIRST_CONTACT_S

    def busy_until_ms(self, tree: str) -> int | None:
        """Return until when the publisher may be updating `tree`, by its own word; None when it is not."""
        return self._from_now(self._updating.left_ms(tree))

    @property
    def catching_up_trees(self) -> tuple[str, ...]:
        """The trees of which somebody is being asked something."""
        return tuple(tree for tree, catching_up in self._catching_up.items() if catching_up.is_asking)

    def catching_up_until_ms(self, tree: str) -> int | None:
        """Return until when list jobs of `tree` should wait for the rest of its history; None when they need not."""
        return self._from_now(self._catching_up[tree].hold_left_ms())

    def _from_now(self, left_ms: int | None) -> int | None:
        return None if left_ms is None else self._clock_ms() + left_ms

    # --- messages that are believed

    def take_update(self, heard: HeardUpdate) -> Verdict:
        """Act on an announcement."""
        update = heard.update
        head = Head(update.epoch, update.serial, heard.digest)
        verdict = self._doubt(update.tree, judge_update(self._ledger.head(update.tree), update), head)
        listed = update.whole or update.changes is not None
        if verdict is Verdict.NEXT and listed:
            self._recorder.announce(update.tree, (heard,))
            self._recorder.changed(update.tree)
        elif verdict is Verdict.NEXT:
            self._catching_up[update.tree].want(head, update.at_ms, doubt=False, testimony=heard.envelope)
        else:
            self._act(update.tree, verdict, head, update.at_ms, heard.envelope)
        return verdict

    def take_updating(self, updating: Updating) -> bool:
        """Start nothing new on a tree that its publisher is updating. Returns False for what was said before."""
        if not self._updating.take(updating):
            return False
        self._recorder.changed(updating.tree)
        return True

    def take_heartbeat(self, heartbeat: Heartbeat, testimony: bytes | None = None) -> None:
        """Act on what a heartbeat says of each tree that is followed; `testimony` is the message itself."""
        for tree in self._trees:
            head = heartbeat.trees.get(tree)
            if head is not None:
                verdict = self._doubt(tree, judge_head(self._ledger.head(tree), head), head)
                self._act(tree, verdict, head, heartbeat.at_ms, testimony)

    def _doubt(self, tree: str, verdict: Verdict, head: Head) -> Verdict:
        """Return the verdict on `head` in the light of what is known of other times, and of how far it is away."""
        if verdict is Verdict.NEW_EPOCH and self._ledger.is_over(tree, head):
            return Verdict.OLD_EPOCH
        if verdict in _AHEAD and find_leap(self._ledger.head(tree), head, self._bounds, self._clock_ms()):
            return Verdict.TOO_FAR
        return verdict

    def take_relay_heads(self, heads: Mapping[str, RelayHead], at_ms: int, *, leads: bool) -> None:
        """Act on what a relay says that it has of each tree. It `leads` when nobody who is heard goes before it."""
        for tree in self._trees:
            if tree in heads:
                self._act_on_relay(tree, heads[tree].applied, at_ms, leads)

    def _act_on_relay(self, tree: str, applied: Head, at_ms: int, leads: bool) -> None:
        """Only a gap is filled at once. Whatever else a relay says makes us ask, the publisher itself if it answers."""
        believed = self._ledger.head(tree)
        verdict = self._doubt(tree, judge_relay(believed, applied), applied)
        younger = verdict is Verdict.NEW_EPOCH and (believed is None or self._may_doubt(tree, applied.epoch))
        if verdict is Verdict.TOO_FAR and self._may_doubt(tree, _FAR):
            self._catching_up[tree].want(applied, at_ms, doubt=True)
        elif verdict is Verdict.GAP:
            self._catching_up[tree].want(applied, at_ms, doubt=False)
        elif younger or (leads and verdict in (Verdict.FORK, Verdict.OLD_EPOCH) and self._may_doubt(tree)):
            self._catching_up[tree].want(None, at_ms, doubt=True)

    def _act(self, tree: str, verdict: Verdict, head: Head, at_ms: int, testimony: bytes | None) -> None:
        if verdict is Verdict.NEW_EPOCH and self._ledger.head(tree) is None:
            self._begin(tree, head, at_ms, testimony)
        elif verdict is Verdict.TOO_FAR and self._may_doubt(tree, _FAR):
            self._catching_up[tree].want(head, at_ms, doubt=True, testimony=testimony)
        elif verdict is Verdict.NEW_EPOCH and self._may_doubt(tree, head.epoch):
            # It may be over: a publisher that began anew with its clock set back has a younger one behind it.
            self._catching_up[tree].want(head, at_ms, doubt=True, testimony=testimony)
        elif verdict in (Verdict.GAP, Verdict.FORK):
            self._catching_up[tree].want(head, at_ms, doubt=verdict is Verdict.FORK, testimony=testimony)
        elif verdict in (Verdict.OLD_EPOCH, Verdict.WENT_BACK) and self._may_doubt(tree, self._younger(tree, head)):
            self._catching_up[tree].want(None, at_ms, doubt=True)

    def _younger(self, tree: str, head: Head) -> str | None:
        """Return the epoch of `head` if it looks younger than what is believed."""
        return head.epoch if judge_head(self._ledger.head(tree), head) is Verdict.NEW_EPOCH else None

    def _begin(self, tree: str, head: Head, at_ms: int, testimony: bytes | None) -> None:
        """Begin at the first head that is heard of, unless the publisher is about to say itself where it is: what is on
        the bus may be of years ago."""
        if self._catching_up[tree].hopeful:
            self._catching_up[tree].want(head, at_ms, doubt=True, testimony=testimony)
        else:
            self._recorder.start_over(tree, head, at_ms, testimony=testimony)

    def adopt_leap(self, tree: str) -> bool:
        """Follow the jump of `tree` that is held: the operator says so. Returns whether there was one."""
        leap = self._ledger.leap(tree)
        if leap is None:
            return False
        self._ledger.forget_leap(tree)
        self._recorder.start_over(tree, leap.head, leap.at_ms)
        return True

    def _may_doubt(self, tree: str, epoch: str | None = None) -> bool:
        """Old messages can be replayed by anybody: they make us ask the publisher, but not more than once a minute.

        An `epoch` that is younger than the one that is believed has a minute of its own, as long as they are few.
        """
        now_ms = self._steady_ms()
        # Whoever signs may have ever younger epochs: those of a minute ago are forgotten, and only so many remembered.
        recent = {key: at_ms for key, at_ms in self._doubted_ms[tree].items() if now_ms - at_ms < _DOUBT_EVERY_MS}
        self._doubted_ms[tree] = recent
        if epoch in recent or (epoch is not None and len(recent) >= _MOST_DOUBTS):
            return False
        recent[epoch] = now_ms
        return True
