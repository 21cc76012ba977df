"""What Twisted would do with a request before anybody is asked whether it is to be answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.web.http import Request
from twisted.web.test.requesthelper import DummyChannel

from pushmirror.http.serving import MAX_QUERY_BYTES
from tests.http.answering import STATE, Service
from tests.support.reactor import Spin

FORM_TYPE = b"multipart/form-data; boundary=b"
FORM = b'--b\r\nContent-Disposition: form-data; name="' + b";" * 60_000 + b'"\r\n\r\nx\r\n--b--\r\n'
MANY_SECONDS = 0.5
"""Of processor time. Reading FORM takes more than two, where Python does that in a time that grows with the square."""


class PlainRequest(Request):
    def process(self) -> None:
        pass


@pytest.fixture
def service(reactor: Any, spin: Spin) -> Iterator[Service]:
    service = Service(reactor, spin)
    yield service
    service.close()


def post(service: Service, body: bytes, content_type: bytes) -> bytes:
    head = b"POST /v1/reports HTTP/1.0\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(head % (content_type, len(body)) + body)
        return connection.makefile("rb").read()


def test_plain_twisted_takes_forms_apart_before_the_request_is_seen() -> None:
    """What the service would do without its own way to read requests."""
    request: Any = PlainRequest(DummyChannel())
    request.requestHeaders.setRawHeaders(b"Content-Type", [FORM_TYPE])
    body = FORM.replace(b";" * 60_000, b"name of a field")
    request.gotLength(len(body))
    request.handleContentChunk(body)
    request.requestReceived(b"POST", b"/", b"HTTP/1.1")
    assert request.args == {b"name of a field": [b"x"]}


@pytest.mark.parametrize(
    ("content_type", "body"), [(FORM_TYPE, FORM), (b"application/x-www-form-urlencoded", b"a&" * 30_000)]
)
def test_a_form_costs_nothing(service: Service, content_type: bytes, body: bytes) -> None:
    """A form of 60 kB in the place of a report is bytes like any others: the reactor is not held up by it."""
    started = time.process_time()
    answer = service.run(post, service, body, content_type)
    assert b" 413 " in answer[:20] and time.process_time() - started < MANY_SECONDS
    assert service.ask()[0] == 200


def test_a_long_query_is_refused_before_it_is_read(service: Service) -> None:
    """What stands behind the question mark is bounded; as much as that is taken still."""
    filled = STATE + "&a=" + "b" * (MAX_QUERY_BYTES - len(STATE.partition("?")[2]) - 3)
    assert [service.ask(filled)[0], service.ask(filled + "b")[0]] == [200, 414]
