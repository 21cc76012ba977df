"""The publishing end of the bus: a process of its own holds the socket, and is started again whenever it is lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from pushmirror.bus.encryption import ServerCurve
from pushmirror.bus.interface import DelayedCall, DescriptorReactor
from pushmirror.bus.listening import listen
from pushmirror.bus.outlet import MAX_KNOWN_TOPICS
from pushmirror.bus.outlet_process import OutletProcess
from pushmirror.bus.packets import pack_message
from pushmirror.bus.sockets import check_curve
from pushmirror.errors import StateError
from pushmirror.logs import Throttle

_log = logging.getLogger(__name__)

MEMORY_BYTES = 384 * 1024 * 1024
"""For the messages that wait for slow clients, and for the clients themselves; see docs/design.md."""
NEWS_PER_TURN = 100
STUCK_SECONDS = 5.0
"""A process that was given something and took nothing for this long is one that a client keeps busy."""
START_SECONDS = 60.0
"""Before a process has told that it is there; on a machine with much to do that may take a while."""
RESTART_SECONDS = 0.1
RESTART_AGAIN_SECONDS = 1.0
"""Before the next start, when the last process did not live for `SHORT_LIFE_SECONDS`."""
SHORT_LIFE_SECONDS = 5.0

_REFUSALS = {
    "key": "a client of the bus was refused: its CURVE key is not in authorized_nodes: %s (%d refused so far)",
    "greeting": "a client of the bus was refused: it speaks otherwise than we do, without CURVE or with it, or with "
    "another key of ours (%s; %d refused so far)",
}


class ZeroMQSender:
    """Publishes at `endpoint`; implements `Sender`. The attribute `endpoint` is what was really bound.

    `subscribed` is called with a topic of which something was sent before, once messages reach somebody who has
    subscribed to it since: whoever wants to tell newcomers something does it then. `restarts` counts how often the
    process was lost, `refused` clients by cause: ``key``, not listed; ``greeting``, in another way than ours.
    Raises StateError when the address is taken, UsageError when this machine cannot listen there at all, or not in
    this way.
    """

    def __init__(
        self,
        reactor: DescriptorReactor,
        endpoint: str,
        *,
        subscribed: Callable[[bytes], None] = lambda topic: None,
        curve: ServerCurve | None = None,
        memory_bytes: int = MEMORY_BYTES,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        if curve is not None:
            check_curve(zmq.has("curve"))
        self._reactor = reactor
        self._subscribed = subscribed
        self._curve = curve
        self._memory_bytes = memory_bytes
        self._stuck_seconds = stuck_seconds
        self._throttle = Throttle(lambda: int(reactor.seconds() * 1000))
        self._topics: set[bytes] = set()
        self.restarts = 0
        self.refused: Counter[str] = Counter()
        self._closed = False
        self._ended: OutletProcess | None = None
        self._starting: DelayedCall | None = None
        self._checking: DelayedCall | None = None
        self._process: OutletProcess | None = None
        self._listening, self.endpoint = listen(endpoint)
        try:
            self._start()
        except OSError as error:
            self._listening.close()
            raise StateError(f"the process of the bus cannot be started: {error.strerror or error}") from error

    @property
    def pid(self) -> int | None:
        """The number of the process that holds the socket; None while there is none."""
        return None if self._process is None else self._process.pid

    def show(self) -> dict[str, Any]:
        """Return what ``status`` tells of the bus."""
        return {
            "encrypted": self._curve is not None,
            "private": self._curve is not None and self._curve.allowed is not None,
            "restarts": self.restarts,
            "refused": {cause: self.refused[cause] for cause in _REFUSALS},
        }

    def send(self, topic: bytes, body: bytes) -> None:
        """Queue one message for every client that subscribed to it. A client whose queue is full misses it."""
        if self._closed:
            raise StateError("the publishing socket is closed; nothing can be sent on it")
        try:
            packet = pack_message(topic, body)
        except ValueError as error:
            raise StateError(f"this message is too large for the bus: {error}") from error
        if len(self._topics) < MAX_KNOWN_TOPICS:
            self._topics.add(topic)
        self._ask_who_may_listen()
        if self._process is not None:  # otherwise nobody is connected
            self._given += self._process.send(packet)
            self._check_later()
            self._look_after(self._process)

    def close(self) -> None:
        """Send what is queued, within limits, and listen no more."""
        if self._closed:
            return
        self._closed = True
        for call in (self._starting, self._checking):
            if call is not None and call.active():
                call.cancel()
        if self._process is not None:
            self._unwatch()
            self._process.end()
        self._listening.close()

    def _start(self) -> None:
        if self._ended is not None:
            self._ended.reap()
        self._allowed = None if self._curve is None else self._curve.read_allowed()
        self._process = OutletProcess(
            self._listening,
            endpoint=self.endpoint,
            memory_bytes=self._memory_bytes,
            topics=tuple(topic.decode("latin-1") for topic in sorted(self._topics)),
            curve_secret=None if self._curve is None else self._curve.secret,
            allowed=self._allowed,
        )
        self._given = self._taken = 0
        self._serves = False
        self._told: Counter[str] = Counter()
        self._started_seconds = self._reactor.seconds()
        self._writing = False
        self._reactor.addReader(self)

    def _start_again(self) -> None:
        """Start another process; while the machine has no room for one that is tried again and again."""
        try:
            self._start()
        except OSError as error:
            if self._throttle.allow("start") is not None:
                _log.error("the process of the bus cannot be started, and is tried again: %s", error)
            self._starting = self._reactor.callLater(RESTART_AGAIN_SECONDS, self._start_again)

    def _lose(self, process: OutletProcess, why: str) -> None:
        """Give the process up, and start another. Clients connect anew, and are told where everything is."""
        self._give_up(process)
        self.restarts += 1
        lived_seconds = self._reactor.seconds() - self._started_seconds
        pause_seconds = RESTART_SECONDS if lived_seconds >= SHORT_LIFE_SECONDS else RESTART_AGAIN_SECONDS
        self._starting = self._reactor.callLater(pause_seconds, self._start_again)
        suppressed = self._throttle.allow("restart")
        if suppressed is not None:
            text = "the process of the bus %s; it is started anew, and clients connect again (%d more before)"
            _log.warning(text, why, suppressed)

    def _give_up(self, process: OutletProcess) -> None:
        self._unwatch()
        process.kill()
        self._ended, self._process = process, None

    def _unwatch(self) -> None:
        self._reactor.removeReader(self)
        if self._writing:
            self._reactor.removeWriter(self)
            self._writing = False

    def _ask_who_may_listen(self) -> None:
        """Begin anew when that has changed: whoever is connected already is not asked again."""
        if self._process is None or self._curve is None or self._curve.read_allowed() == self._allowed:
            return
        _log.info("other nodes may listen than before: all clients connect again")
        self._give_up(self._process)
        self._start_again()

    def _look_after(self, process: OutletProcess) -> None:
        if process.lost:
            self._lose(process, "has ended, as it does when a client has it take more memory than it may")
        elif process.waits != self._writing:
            self._writing = process.waits
            (self._reactor.addWriter if self._writing else self._reactor.removeWriter)(self)

    def _check_later(self) -> None:
        if self._checking is None or not self._checking.active():
            self._checking = self._reactor.callLater(self._stuck_seconds, self._check, self._process, self._taken)

    def _check(self, process: OutletProcess, taken_before: int) -> None:
        if process is not self._process or self._taken == self._given:
            return
        lived_seconds = self._reactor.seconds() - self._started_seconds
        if self._taken == taken_before and (self._serves or lived_seconds > START_SECONDS):
            self._lose(process, "takes nothing any more, as when a client keeps it busy")
        else:
            self._check_later()

    # What Twisted calls a read and a write descriptor.

    def fileno(self) -> int:
        return -1 if self._process is None else self._process.fileno()

    def doRead(self) -> None:
        """Take in what the process tells, up to the budget of one turn; the rest in the next turn."""
        for _ in range(NEWS_PER_TURN):
            news = None if self._process is None else self._process.read()
            if news is None:
                break
            self._take_news(news)
        if self._process is not None:
            self._look_after(self._process)

    def doWrite(self) -> None:
        """Hand over what waits."""
        if self._process is not None:
            self._process.flush()
            self._look_after(self._process)

    def _take_news(self, news: Any) -> None:
        self._serves, self._taken = True, news["taken"]
        told = Counter[str](news["refused"])
        more, self._told = told - self._told, told
        self.refused += more
        for cause in more:
            if self._throttle.allow(cause) is not None:
                _log.warning(_REFUSALS[cause], news["last_refused"], self.refused[cause])
        for topic in news["subscribed"]:
            self._subscribed(topic.encode("latin-1"))

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the descriptor up, at the end of the process."""

    def logPrefix(self) -> str:
        return "bus sender"
