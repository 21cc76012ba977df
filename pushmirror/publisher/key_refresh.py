"""Notices that ``rotate-key`` has exchanged the key of the daemon, and has that told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from pushmirror.publisher.signing import SigningKeys

LOOK_SECONDS = 3.0
"""How often the files are looked at without being told to."""


class KeyRefresh(Service):
    """Looks after `keys`; `changed` is called when they are others than before. `look` may be called at any time."""

    def __init__(self, reactor: Any, keys: SigningKeys, changed: Callable[[], None]) -> None:
        self._keys = keys
        self._changed = changed
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
        """Read the keys anew if their files have changed."""
        if self.running and self._keys.refresh():
            self._changed()
