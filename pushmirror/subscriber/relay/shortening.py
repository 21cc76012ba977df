"""Keeps the updates that are kept after they were applied within bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.settings.relays import RelayHistory
from pushmirror.subscriber.ledger import Ledger

log = logging.getLogger(__name__)

_SHORTEN_S = 60.0


class Shortening(Service):
    """Shortens what is kept of `trees`. What is not clean here yet stays: it is needed when a full sync is judged."""

    def __init__(
        self, reactor: Any, trees: Iterable[str], ledger: Ledger, history: RelayHistory, clock_ms: Callable[[], int]
    ) -> None:
        self._trees = tuple(trees)
        self._ledger = ledger
        self._history = history
        self._clock_ms = clock_ms
        self._loop = LoopingCall(self._shorten)
        self._loop.clock = reactor

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._loop.start(_SHORTEN_S)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._loop.running:
            self._loop.stop()

    def _shorten(self) -> None:
        oldest_ms = self._clock_ms() - self._history.age_ms
        for tree in self._trees:
            try:
                cleaned = self._ledger.tree(tree).cleaned
                self._ledger.kept.shorten(tree, cleaned, oldest_ms=oldest_ms, max_bytes=self._history.size_bytes)
            except Exception:  # the disk is full, for example: it is tried again in a minute
                log.exception("tree %s: what is kept of it could not be shortened", tree)
