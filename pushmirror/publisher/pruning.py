"""Keeps the journal within its limits, a little at a time, while everything else goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service

from pushmirror.core.retention import Retention
from pushmirror.errors import StateError
from pushmirror.logs import Throttle
from pushmirror.publisher.journal import Journal

_log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is looked whether something has to go."""
PAUSE_SECONDS = 0.05
"""Between two steps, for others who want to write; a step takes some milliseconds."""


class Pruner(Service):
    """Prunes now and then. What fails is tried again by the next look."""

    def __init__(self, reactor: Any, journal: Journal, retention: Retention, clock_ms: Callable[[], int]) -> None:
        self._reactor = reactor
        self._journal = journal
        self._retention = retention
        self._throttle = Throttle(clock_ms)
        self._next: Any = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._next = self._reactor.callLater(LOOK_SECONDS, self._step)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _step(self) -> None:
        pruned = False
        try:
            pruned = self._journal.prune(self._retention)
        except StateError as error:
            suppressed = self._throttle.allow("pruning")
            if suppressed is not None:
                _log.warning("the journal could not be pruned: %s (%d more since the last line)", error, suppressed)
        self._next = self._reactor.callLater(PAUSE_SECONDS if pruned else LOOK_SECONDS, self._step)
