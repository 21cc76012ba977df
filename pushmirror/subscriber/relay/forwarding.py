"""Reports of the nodes below a relay: verified, and handed on to the publisher as they came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pushmirror.core.messages import kind_of, parse_report, topic
from pushmirror.core.rate import TokenBucket
from pushmirror.core.wire import Envelope, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.http.questions import Refusal
from pushmirror.http.serving import MAX_BODY_BYTES
from pushmirror.keys import verify_envelope
from pushmirror.logs import Throttle
from pushmirror.nodes import AuthorizedNodes

log = logging.getLogger(__name__)

REPORTS_PER_SECOND = 50.0
REPORTS_AT_ONCE = 500


@dataclass(frozen=True)
class Destination:
    """Where the reports about one publisher go: under which topics they come, and who takes them."""

    prefix: str
    environment: str
    hand_on: Callable[[bytes], None]


class Forwarding:
    """Hands reports on to `destinations` (by publisher) about their `trees` (tree to publisher).

    Only those of `nodes` count; without a list of nodes none is taken.
    """

    def __init__(
        self,
        nodes: AuthorizedNodes | None,
        destinations: Mapping[str, Destination],
        trees: Mapping[str, str],
        clock_ms: Callable[[], int],
    ) -> None:
        self._nodes = nodes
        self._destinations = destinations
        self._trees = trees
        self._clock_ms = clock_ms
        self._bucket = TokenBucket(REPORTS_PER_SECOND, REPORTS_AT_ONCE, clock_ms() / 1000)
        self._throttle = Throttle(clock_ms)

    def take(self, body: bytes) -> Refusal | None:
        """Hand a report on. Returns why it is refused, None when it is on its way."""
        if self._nodes is None:
            return Refusal(404, "this relay takes no reports: send them to the publisher")
        if not self._bucket.take(self._clock_ms() / 1000):
            return Refusal(503, "too many reports at once; try again later")
        try:
            destination = self._judge(open_envelope(body, max_bytes=MAX_BODY_BYTES), self._nodes)
        except MalformedMessage as error:
            return self._refuse(error)
        destination.hand_on(body)
        return None

    def _judge(self, envelope: Envelope, nodes: AuthorizedNodes) -> Destination:
        """Return where the report goes, if it is signed by the node that it names. The signature is checked last."""
        kind = kind_of(envelope.topic)
        if kind is None or not kind.startswith("sync."):
            raise MalformedMessage("the topic is not that of a report")
        report = parse_report(kind, envelope.msg)
        destination = self._destinations.get(report.publisher)
        if destination is None or self._trees.get(report.tree) != report.publisher:
            raise MalformedMessage("the report is about a tree that is not relayed here")
        if envelope.topic != topic(destination.prefix, destination.environment, kind):
            raise MalformedMessage("the topic is not that of a report to this publisher")
        key = nodes.read().get(report.node)
        if key is None:
            raise BadSignature("this node is not among the authorized nodes of the relay")
        verify_envelope(envelope, [key])
        return destination

    def _refuse(self, error: MalformedMessage) -> Refusal:
        suppressed = self._throttle.allow(error.cause_name)
        if suppressed is not None:
            log.warning("a report from below was refused: %s (%d more since the last line)", error, suppressed)
        return Refusal(403 if isinstance(error, BadSignature) else 400, str(error))
