"""Reports to the publisher: signed, in order, bounded, and never in the way of anything."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pushmirror.core.messages import MAX_REASON_LENGTH, parse_report
from pushmirror.core.model import Event, Report
from pushmirror.core.wire import open_envelope, parse_object
from pushmirror.http.questions import Refusal
from pushmirror.keys import verify_envelope
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import NEVER, JobRecord
from pushmirror.subscriber.reporter import Reporter
from pushmirror.subscriber.service_client import ServiceClient
from tests.subscriber.upstream import (
    ENVIRONMENT,
    NODE,
    PREFIX,
    PUBLISHER,
    START_MS,
    TREE,
    RawService,
    Time,
    Upstream,
)
from tests.support.reactor import Spin

RECORD = JobRecord(7, TREE, "list", 3, START_MS, START_MS + 250, "done", 5, 2048, 1, 900, 0, None)


class Field:
    """A reporter to the service at `url`."""

    def __init__(self, reactor: Any, upstream: Upstream, ledger: Ledger, url: str | None = None) -> None:
        self.time = Time(START_MS + 1000)
        self.upstream, self.ledger = upstream, ledger
        keys = [upstream.key.public]
        client = ServiceClient(reactor, url or upstream.url, PUBLISHER, lambda tree: keys, PREFIX, ENVIRONMENT)
        self.reporter = Reporter(NODE, PUBLISHER, PREFIX, ENVIRONMENT, upstream.node_key, client, self.time)

    def tell(self, event: Event = Event.COMPLETED, **replaced: Any) -> None:
        record = JobRecord(**{**vars(RECORD), **replaced})
        self.reporter.tell(event, record, self.ledger.tree(TREE))

    @property
    def reports(self) -> list[Report]:
        """What the service was given, verified with the key of the node."""
        found = []
        for body in self.upstream.service.bodies:
            envelope = open_envelope(body)
            verify_envelope(envelope, [self.upstream.node_key.public])
            found.append(parse_report(envelope.topic.split(".pushmirror.")[1], envelope.msg))
        return found

    @property
    def counters(self) -> list[int]:
        return [parse_object(body, max_bytes=100_000)["i"] for body in self.upstream.service.bodies]


@pytest.fixture
def field(reactor: Any, upstream: Upstream, ledger: Ledger) -> Field:
    return Field(reactor, upstream, ledger)


def test_a_report_tells_of_the_job_and_of_the_tree(field: Field, upstream: Upstream, spin: Spin) -> None:
    """The publisher believes it and puts it on the bus."""
    field.tell()
    spin(lambda: upstream.heard)
    assert field.reports == [
        Report(
            Event.COMPLETED,
            NODE,
            PUBLISHER,
            TREE,
            None,
            NEVER,
            NEVER,
            "list",
            files=5,
            bytes=2048,
            deleted=1,
            duration_ms=250,
            lag_ms=900,
            exit_code=0,
        )
    ]
    assert upstream.heard[0][0] == b"org.example.test.pushmirror.sync.completed"


def test_reports_arrive_in_their_order(field: Field, spin: Spin) -> None:
    """Each after the one before was taken."""
    for number in range(20):
        field.tell(Event.STARTED if number % 2 else Event.COMPLETED, files=number)
    spin(lambda: len(field.reports) == 20)
    assert [report.files for report in field.reports] == list(range(20))


def test_a_running_job_has_lasted_until_now(field: Field, spin: Spin) -> None:
    """By the clock of the node."""
    field.tell(Event.STARTED, finished_ms=None)
    spin(lambda: field.reports)
    assert field.reports[0].duration_ms == 1000


@pytest.mark.parametrize(
    "replaced",
    [
        {"exit_code": -9, "reason": "rsync was ended by signal 9"},
        {"exit_code": 255},
        {"reason": "x" * 5000},
        {"reason": "\x00 odd \u2028 größe"},
        {"finished_ms": START_MS - 5000},
        {"bytes": 2**62},
    ],
    ids=str,
)
def test_whatever_a_job_did_makes_a_report_that_is_taken(
    field: Field, upstream: Upstream, spin: Spin, replaced: dict[str, Any]
) -> None:
    """A signal stays one, a long reason is cut, a clock that went back gives no negative time."""
    field.tell(Event.FAILED, **replaced)
    spin(lambda: upstream.service.bodies)
    (report,) = field.reports
    assert report.exit_code == replaced.get("exit_code", 0)
    assert len(report.reason or "") <= MAX_REASON_LENGTH
    assert report.duration_ms >= 0
    spin(lambda: upstream.heard)


def test_a_report_that_is_refused_does_not_hold_up_the_next(field: Field, upstream: Upstream, spin: Spin) -> None:
    """It is given up: the next one tells the newer story."""
    upstream.service.lie = lambda question: Refusal(403, "no") if len(upstream.service.asked) < 3 else None
    for number in range(4):
        field.tell(files=number)
    spin(lambda: len(upstream.heard) == 2)
    assert [report.files for report in field.reports] == [0, 1, 2, 3]


def test_a_service_that_is_asked_too_much_gets_the_report_when_it_wants_it(
    reactor: Any, upstream: Upstream, ledger: Ledger, spin: Spin, caplog: pytest.LogCaptureFixture
) -> None:
    """The same one, before any other, and nobody is told of an error. Without a time it is refused like others."""
    later = b"HTTP/1.1 429 Too Many Requests\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n"
    taken = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    raw = RawService(reactor, later % b"Retry-After: 1\r\n")
    field = Field(reactor, upstream, ledger, raw.url)
    begun_s = reactor.seconds()
    with caplog.at_level(logging.INFO):
        field.tell()
        field.tell()
        spin(lambda: raw.requests == 1)
        raw.head = taken
        spin(lambda: raw.requests == 3)
    assert reactor.seconds() - begun_s >= 1
    assert "not taken" not in caplog.text
    raw.head = later % b""
    with caplog.at_level(logging.INFO):
        field.tell()
        spin(lambda: "it answered 429" in caplog.text)
    assert raw.requests == 4
    stopped = raw.stop()
    spin(lambda: stopped.called)


def test_too_many_waiting_reports_drop_the_oldest(field: Field, spin: Spin) -> None:
    """200 wait at most, beside the one that is being sent."""
    for _ in range(300):
        field.tell()
    spin(lambda: field.counters[-1:] == [300])
    assert field.counters == [1, *range(101, 301)]


def test_a_service_that_is_away_is_no_obstacle(field: Field, upstream: Upstream, spin: Spin) -> None:
    """Telling takes no time; what waits is given up, and what is told later is sent when it is back."""
    stopped = upstream.stop()
    spin(lambda: stopped.called)
    for _ in range(3):
        field.tell()
    assert field.counters == []


def test_a_stop_gives_up_what_is_not_sent(reactor: Any, upstream: Upstream, ledger: Ledger, spin: Spin) -> None:
    """Also the one that the service does not answer."""
    raw = RawService(reactor, b"", hang=True)
    field = Field(reactor, upstream, ledger, raw.url)
    for _ in range(3):
        field.tell()
    spin(lambda: raw.requests)
    field.reporter.stop()
    spin(lambda: not raw.open)
    for _ in range(30):
        reactor.iterate(0.005)
    assert raw.requests == 1
    stopped = raw.stop()
    spin(lambda: stopped.called)
