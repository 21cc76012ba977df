"""Shows upwards what was heard of a tree when nobody there has it: its publisher may have lost it.

A relay that is behind looks like one whose publisher went back to an older journal, so whoever is below cannot tell.
Only what the publisher has signed can, and it may be that nobody else has it any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from pushmirror.core.forks import is_left_behind
from pushmirror.core.model import Head
from pushmirror.errors import ServiceError
from pushmirror.logs import Throttle
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.services import HeardRelays

log = logging.getLogger(__name__)

SHOW_EVERY_MS = 60_000
"""One that is behind only for the moment costs a message, and whoever it was shown to may have been unable to help."""


class TakesHeaders(Protocol):
    """Whoever is shown what a publisher signed; see `Services`."""

    async def show_header(self, body: bytes) -> None: ...


class Showing:
    """Looks after `trees` of which `heard_relays` tell; what they lack is shown to `services`."""

    def __init__(
        self,
        trees: Iterable[str],
        ledger: Ledger,
        services: TakesHeaders,
        heard_relays: HeardRelays,
        steady_ms: Callable[[], int],
    ) -> None:
        self._trees = tuple(trees)
        self._ledger = ledger
        self._services = services
        self._heard_relays = heard_relays
        self._steady_ms = steady_ms
        self._throttle = Throttle(steady_ms)
        self._shown_ms: dict[str, int] = {}
        self._under_way: dict[str, Deferred[None]] = {}

    def look(self) -> None:
        """Show what no relay that is heard has. To be called after each word of one, unless the publisher is heard."""
        for tree in self._trees:
            told = [head.applied for head in self._heard_relays(tree).values()]
            if is_left_behind(self._ledger.head(tree), told) and self._is_due(tree):
                self._show(tree)

    def _is_due(self, tree: str) -> bool:
        last_ms = self._shown_ms.get(tree)
        return tree not in self._under_way and (last_ms is None or self._steady_ms() - last_ms >= SHOW_EVERY_MS)

    def _show(self, tree: str) -> None:
        self._shown_ms[tree] = self._steady_ms()
        testimony, heard = self._ledger.header(tree), self._ledger.head(tree)
        if testimony is None or heard is None:
            return
        showing = Deferred.fromCoroutine(self._hand_in(tree, heard, testimony))
        if not showing.called:
            self._under_way[tree] = showing
        showing.addBoth(self._forget, tree)

    async def _hand_in(self, tree: str, heard: Head, testimony: bytes) -> None:
        suppressed = self._throttle.allow(tree)
        if suppressed is not None:
            log.info(
                "tree %s: no relay is at serial %d, which was heard; the publisher's word on it is shown (%d more"
                " before)",
                tree, heard.serial, suppressed,
            )  # fmt: skip
        try:
            await self._services.show_header(testimony)
        except ServiceError as error:
            log.info("tree %s: nobody looks at what was heard: %s", tree, error)

    def _forget(self, result: Any, tree: str) -> None:
        self._under_way.pop(tree, None)
        if result is not None and not result.check(CancelledError):
            log.error("tree %s: showing what was heard failed: %s", tree, result.getTraceback())

    def stop(self) -> None:
        """Leave off what is under way."""
        for showing in tuple(self._under_way.values()):
            showing.cancel()
