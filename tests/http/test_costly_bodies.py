"""Bodies that take long to read: what one address may have of that, and what it leaves to others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pushmirror.core.limits import BODY_BYTES_PER_REQUEST, REQUESTS_BURST_S, Clients, Limits
from pushmirror.core.wire import MAX_INLINE_BYTES, open_envelope
from pushmirror.http.answers import NoContent
from pushmirror.http.questions import Question
from tests.http.answering import Answers, Service
from tests.support.reactor import Spin

STRANGER = "127.0.0.3"
COSTLY = (
    b'{"topic":"t","msg":{"x":[' + b"1," * 30_000 + b'1]},"msg_id":"x","timestamp":1,"i":1,"username":"u",'
    b'"crypto":"ed25519","certificate":"c","signature":"' + b"A" * 86 + b'=="}'
)
"""A header of 60 kB that is well-formed; to find that out takes as long as a hundred other requests."""


class ReadingAnswers(Answers):
    """Reads every body as a publisher does, and keeps how long that took."""

    def __init__(self) -> None:
        super().__init__()
        self.read_s = 0.0
        self.read = 0

    def answer(self, question: Question, body: bytes) -> Any:
        if not body:
            return super().answer(question, body)
        started = time.thread_time()
        open_envelope(body)
        self.read_s += time.thread_time() - started
        self.read += 1
        return NoContent()


@pytest.fixture
def answers() -> ReadingAnswers:
    return ReadingAnswers()


@pytest.fixture
def service(reactor: Any, spin: Spin, answers: ReadingAnswers) -> Iterator[Service]:
    service = Service(reactor, spin, Limits(requests_per_second=10), answers=answers)
    yield service
    service.close()


def post_until_refused(service: Service, most: int) -> int:
    """Return how many costly headers one address gets rid of."""
    head = b"POST /v1/headers HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(COSTLY)
    for count in range(most):
        with service.connect(STRANGER) as connection:
            connection.sendall(head + COSTLY)
            if b" 204 " not in connection.makefile("rb").read()[:20]:
                return count
    return most


def test_costly_bodies_count_for_what_they_cost(service: Service, answers: ReadingAnswers) -> None:
    """Of 200 requests that one address may make at once, three or four may have a body of 60 kB. By requests alone
    all of them could, and hold up everybody for seconds. Others are served meanwhile."""
    taken = service.run(post_until_refused, service, 50)
    assert 1 <= taken == answers.read <= 10 * REQUESTS_BURST_S * BODY_BYTES_PER_REQUEST // len(COSTLY) + 2
    assert service.ask()[0] == 200
    without_s = answers.read_s / answers.read * 10 * REQUESTS_BURST_S
    print(f"{taken} bodies read in {answers.read_s:.2f} s; {10 * REQUESTS_BURST_S} would take {without_s:.1f} s")


def test_small_bodies_count_as_the_requests_that_they_are() -> None:
    """Reports are well below a kilobyte; the largest header there is leaves an address of the usual limits its turn."""
    clients = Clients(Limits())
    assert [clients.request("192.0.2.1", 0, BODY_BYTES_PER_REQUEST - 1) for _ in range(100 * REQUESTS_BURST_S)] == (
        [0] * 100 * REQUESTS_BURST_S
    )
    assert clients.request("192.0.2.1", 0) > 0
    assert [clients.request("192.0.2.2", 0, MAX_INLINE_BYTES), clients.request("192.0.2.2", 0)] == [0, 0]
