"""Tells subscribers that ``pushmirror run`` is writing a tree (``tree.updating``), and when it has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.bus.interface import Sender
from pushmirror.core.messages import UPDATING, format_updating
from pushmirror.core.model import Updating
from pushmirror.keys import seal
from pushmirror.logs import Throttle
from pushmirror.publisher.detect.run_lock import is_running
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.signing import Signers

_log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""How often the locks of the runs are looked at without being told to."""

REPEAT_MS = 30_000
EXPIRES_MS = 100_000
"""Three messages in a row may be lost before a subscriber goes on in the middle of an update."""


class RunAnnouncer(Service):
    """Says which trees are being written. `look` may be called at any time; nothing that fails stops the loop.

    What it knows is in the locks alone: a run that was killed, and a daemon that was restarted, leave nothing to tidy.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        state_dir: Path,
        keys: Signers,
        sender: Sender,
        identity: Identity,
        trees: Sequence[str],
        clock_ms: Callable[[], int],
    ) -> None:
        self._state_dir = state_dir
        self._keys = keys
        self._sender = sender
        self._identity = identity
        self._trees = tuple(trees)
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self._told_ms: dict[str, int] = {}
        self._looking = LoopingCall(self.look)
        self._looking.clock = reactor

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._looking.start(LOOK_SECONDS)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._looking.running:
            self._looking.stop()

    def look(self) -> None:
        """Tell what began or ended since the last look, and again what goes on."""
        if not self.running:
            return
        for tree in self._trees:
            try:
                self._look_at(tree)
            except Exception:  # the other trees are looked at
                self._complain(tree)

    def _look_at(self, tree: str) -> None:
        now_ms = self._clock_ms()
        told_ms = self._told_ms.get(tree)
        if is_running(self._state_dir, tree):
            if told_ms is None or not 0 <= now_ms - told_ms < REPEAT_MS:
                self._send(tree, now_ms, EXPIRES_MS)
                self._told_ms[tree] = now_ms
        elif told_ms is not None:
            self._send(tree, now_ms, 0)
            del self._told_ms[tree]

    def _send(self, tree: str, now_ms: int, expires_in_ms: int) -> None:
        updating = Updating(self._identity.name, tree, now_ms, now_ms + expires_in_ms)
        signed = self._identity.compose(UPDATING, format_updating(updating), at_ms=now_ms, counter=now_ms)
        self._sender.send(self._identity.topic(UPDATING).encode(), seal(signed, self._keys.valid()[0]))

    def _complain(self, tree: str) -> None:
        suppressed = self._throttle.allow(tree)
        if suppressed is not None:
            _log.exception("whether %s is being written cannot be told (%d more since)", tree, suppressed)
