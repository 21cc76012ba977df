"""Reports of the nodes: verified against the operator's list of nodes, counted, and put on the bus as they came."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pushmirror.bus.interface import Sender
from pushmirror.core.messages import kind_of, parse_report
from pushmirror.core.model import Report
from pushmirror.core.recency import MAX_APART_S, Moment, apart_s, is_news
from pushmirror.core.wire import Envelope, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.http.questions import Refusal
from pushmirror.http.serving import MAX_BODY_BYTES
from pushmirror.keys import verify_envelope
from pushmirror.logs import Throttle
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.identity import Identity

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastReport:
    """The newest report of one node about one tree, when it was made, and when it arrived."""

    report: Report
    made: Moment
    received_ms: int


class Reports:
    """Takes reports. `accepted` and `refused` (by cause) count them; `last` has the newest by node and tree.

    What is kept is bounded: nodes are those that the operator listed, trees those that are published here.
    """

    def __init__(
        self,
        *,
        nodes: AuthorizedNodes,
        identity: Identity,
        trees: Collection[str],
        sender: Sender,
        clock_ms: Callable[[], int],
    ) -> None:
        self._nodes = nodes
        self._identity = identity
        self._trees = trees
        self._sender = sender
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.last: dict[str, dict[str, LastReport]] = {}

    def take(self, body: bytes) -> Refusal | None:
        """Verify a report and put it on the bus. Returns why it is refused, None when it was taken.

        One that is not newer than what the node has said of the tree is taken and goes nowhere: either its sender
        missed the answer, or somebody has recorded it. Raises StateError when the bus cannot be spoken to.
        """
        try:
            envelope = open_envelope(body, max_bytes=MAX_BODY_BYTES)
            report = self._believe(envelope)
        except MalformedMessage as error:
            return self._refuse(error)
        made, now_ms = _made(envelope), self._clock_ms()
        last = self.last.get(report.node, {}).get(report.tree)
        if is_news(made, None if last is None else last.made, now_ms):
            self._sender.send(envelope.topic.encode(), body)
            self.accepted += 1
            self.last.setdefault(report.node, {})[report.tree] = LastReport(report, made, now_ms)
        return None

    def _believe(self, envelope: Envelope) -> Report:
        """Return the report, if it is about us and signed by the node that it names. The signature is checked last."""
        kind = kind_of(envelope.topic)
        if kind is None or not kind.startswith("sync.") or envelope.topic != self._identity.topic(kind):
            raise _not_ours("topic", "the topic is not that of a report to this publisher")
        report = parse_report(kind, envelope.msg)
        if report.publisher != self._identity.name:
            raise _not_ours("publisher", "the report is for another publisher")
        if report.tree not in self._trees:
            raise _not_ours("tree", "the report is about a tree that is not published here")
        key = self._nodes.read().get(report.node)
        if key is None:
            raise _not_ours("node", "this node is not among the authorized nodes of the publisher")
        self._check_date(report.node, _made(envelope))
        verify_envelope(envelope, [key])
        return report

    def _check_date(self, node: str, made: Moment) -> None:
        if difference_s := apart_s(made, self._clock_ms()):
            side = "after" if difference_s > 0 else "before"
            raise _not_ours(
                "date",
                f"the report of {node} is dated {abs(difference_s)} seconds {side} the publisher's clock, more than"
                f" {MAX_APART_S}: set the clock that is wrong",
            )

    def _refuse(self, error: MalformedMessage) -> Refusal:
        cause = error.cause_name
        self.refused[cause] += 1
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            _log.warning("a report was refused (%s): %s (%d more since the last line)", cause, error, suppressed)
        forbidden = isinstance(error, BadSignature) or cause == "node"
        return Refusal(403 if forbidden else 400, str(error))

    def forget_strangers(self) -> None:
        """Drop what is kept of nodes that are authorized no more."""
        nodes = self._nodes.read()
        self.last = {node: reports for node, reports in self.last.items() if node in nodes}


def _made(envelope: Envelope) -> Moment:
    return Moment(envelope.timestamp, envelope.counter)


def _not_ours(cause_name: str, text: str) -> MalformedMessage:
    """A report that is well-formed by itself, and that this publisher has no use for."""
    error = MalformedMessage(text)
    error.cause_name = cause_name
    return error
