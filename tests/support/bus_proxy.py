"""A bad bus: between a publisher and its subscribers, it loses, repeats, holds back and reorders what is published."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

import zmq

_LOOK_MS = 50


@dataclass(frozen=True)
class Mischief:
    """The shares of messages that are lost, sent twice, and held back for up to `longest_delay_seconds`."""

    lost: float = 0.2
    repeated: float = 0.15
    delayed: float = 0.3
    longest_delay_seconds: float = 0.6


class BusProxy:
    """Passes on what the publisher at `upstream` says, to whoever connects to `endpoint`; in a ``with`` block.

    What happens to each message is decided by `chance` alone. A message that is held back is overtaken by later ones.
    `counts` says how many were ``lost``, ``repeated``, ``delayed`` and ``passed``.
    """

    def __init__(self, upstream: str, chance: random.Random, mischief: Mischief | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = chance
        self._mischief = Mischief() if mischief is None else mischief
        self._context = zmq.Context()
        self._above = self._context.socket(zmq.XSUB)
        self._below = self._context.socket(zmq.XPUB)
        # Each newcomer's subscription reaches the publisher, which greets it.
        self._below.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._above.connect(upstream)
        self._below.bind("tcp://127.0.0.1:*")
        self.endpoint: str = self._below.getsockopt_string(zmq.LAST_ENDPOINT)
        self._held: list[tuple[float, int, list[bytes]]] = []
        self._number = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus proxy", daemon=True)

    def __enter__(self) -> BusProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        for socket in (self._above, self._below):
            socket.close(0)
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._above, zmq.POLLIN)
        poller.register(self._below, zmq.POLLIN)
        while not self._ending.is_set():
            ready = dict(poller.poll(self._wait_ms()))
            if self._below in ready:
                self._above.send(self._below.recv())
            if self._above in ready:
                self._take(self._above.recv_multipart())
            self._let_go()

    def _wait_ms(self) -> float:
        if not self._held:
            return _LOOK_MS
        return min(_LOOK_MS, max(0.0, (self._held[0][0] - time.monotonic()) * 1000))

    def _take(self, message: list[bytes]) -> None:
        if self._chance.random() < self._mischief.lost:
            self.counts["lost"] += 1
            return
        copies = 2 if self._chance.random() < self._mischief.repeated else 1
        self.counts["repeated"] += copies - 1
        for _ in range(copies):
            self._pass_on(message)

    def _pass_on(self, message: list[bytes]) -> None:
        delay_seconds = 0.0
        if self._chance.random() < self._mischief.delayed:
            self.counts["delayed"] += 1
            delay_seconds = self._chance.random() * self._mischief.longest_delay_seconds
        self._number += 1
        heapq.heappush(self._held, (time.monotonic() + delay_seconds, self._number, message))

    def _let_go(self) -> None:
        while self._held and self._held[0][0] <= time.monotonic():
            self._below.send_multipart(heapq.heappop(self._held)[2])
            self.counts["passed"] += 1
