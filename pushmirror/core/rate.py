"""A token bucket: how much of something costly is done for strangers in a given time."""

from __future__ import annotations


class TokenBucket:
    """Lets `burst` through at once and `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int, now_s: float) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._last_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one token, if there is one at `now_s`; a clock that went back adds none."""
        self._refill(now_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def spend(self, tokens: int, now_s: float) -> None:
        """Take what was used in any case; what is not there is owed, and comes off what time brings."""
        self._refill(now_s)
        self._tokens -= tokens

    def wait_s(self, now_s: float) -> float:
        """Return how long it takes until there is a token; 0 when there is one."""
        self._refill(now_s)
        return max(0.0, (1 - self._tokens) / self._per_second)

    def _refill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._last_s) * self._per_second)
        self._last_s = now_s
