"""A ledger whose process can be killed at any of its calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pushmirror.core.model import Head
from pushmirror.subscriber.ledger import Ledger
from tests.model.tier1 import Killed
from tests.subscriber.upstream import TREE


class MortalLedger:
    """A ledger whose process dies before or after the call that is to be its last (`lives`, in halves of calls).

    From then on every call ends in Killed, so that whatever cleans up behind cannot record anything.
    """

    def __init__(self, ledger: Ledger, started_over: Callable[[Head | None, Head], None]) -> None:
        self._ledger = ledger
        self._started_over = started_over
        self.lives: int | None = None

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name, getattr(self._ledger, name))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._live()
        before = self._ledger.head(TREE) if name == "start_over" else None
        result = function(*arguments, **named)
        if name == "start_over":
            self._started_over(before, arguments[1])
        self._live()
        return result

    def _live(self) -> None:
        if self.lives == 0:
            raise Killed
        if self.lives is not None:
            self.lives -= 1
