"""Time in the hands of the model: a reactor that turns when told and has no threads, and the wall clock beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

START_MS = 1_790_000_000_000


class ModelReactor(Clock):
    """One process's reactor. What would run in a thread runs at once."""

    def getThreadPool(self) -> ModelReactor:
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], function: Callable[..., Any], *arguments: Any, **named: Any
    ) -> None:
        try:
            result = function(*arguments, **named)
        except Exception:
            told(False, Failure())  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        else:
            told(True, result)

    def callFromThread(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        function(*arguments, **named)

    def wake_in_s(self) -> float | None:
        """Return in how many seconds the next call is due; None when there is none."""
        calls: Any = self.getDelayedCalls()
        return max(0.0, min(call.getTime() for call in calls) - self.seconds()) if calls else None

    def turn(self) -> bool:
        """Do what is due now. Returns whether there was anything."""
        due = self.wake_in_s() == 0.0
        if due:
            self.advance(0)
        return due


@dataclass
class Setting:
    """A machine's wall clock: the true time, and by how much it is off."""

    time: Time
    off_ms: int = 0

    def __call__(self) -> int:
        return self.time.now_ms + self.off_ms


@dataclass
class Time:
    """The true time, in milliseconds since the epoch; it only goes on."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def wall(self) -> Setting:
        """Return the wall clock of one machine."""
        return Setting(self)
