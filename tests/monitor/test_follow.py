"""Following a real ZeroMQ socket: messages, garbage, endings."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pushmirror.core.messages import UPDATED
from pushmirror.errors import UsageError
from pushmirror.keys import PrivateKey
from pushmirror.monitor.feeds import Feed
from pushmirror.monitor.follow import Arrival, Follower
from pushmirror.monitor.hearing import MAX_SHOWN_BYTES, Trust, Voice
from tests.monitor.examples import PUBLISHER, make_key, sign, topic_of, update_msg
from tests.support.waiting import wait_until

TOPIC = topic_of(UPDATED).encode()
GARBAGE = ([b""], [b"\xff" * 300], [TOPIC], [TOPIC, b"\x00\xff", b"x"], [b"a"] * 50, [TOPIC, b"[" * 9999])


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return make_key(tmp_path, PUBLISHER)


@pytest.fixture
def sender() -> Iterator[Any]:
    """A PUB socket on a free port of loopback."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def endpoint_of(socket: Any) -> str:
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


class Following:
    """A `Follower` in a thread, as the demonstration has it; `arrivals` is what it has heard so far."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.arrivals: list[Arrival] = []
        self._feeds = feeds
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def _run(self) -> None:
        with Follower(self._feeds, lambda: 5, stop=self._reading) as follower:
            for arrival in follower.messages():
                self.arrivals.append(arrival)

    def __exit__(self, *_: object) -> None:
        os.write(self._writing, b".")
        self._thread.join(10)
        assert not self._thread.is_alive(), "the follower did not stop"
        os.close(self._reading)
        os.close(self._writing)


def send_until(send: Callable[[], object], condition: Callable[[], object]) -> None:
    """Send again and again: what is sent before a connection stands is lost."""

    def sent_and_true() -> bool:
        send()
        return bool(condition())

    wait_until(sent_and_true, deadline_seconds=20)


def test_messages_are_handed_out_and_judged(sender: Any, key: PrivateKey) -> None:
    """A message is heard with the time of its arrival, and verified with the feed's voice."""
    feed = Feed(endpoint_of(sender), topic_of(""), Voice(PUBLISHER, topic_of(""), (key.public,)))
    body = sign(key, UPDATED, update_msg())
    with Following([feed]) as following:
        send_until(lambda: sender.send_multipart([topic_of(UPDATED).encode(), body]), lambda: following.arrivals)
        arrival = following.arrivals[0]
    assert (arrival.at_ms, arrival.heard.trust, arrival.heard.signer) == (5, Trust.VERIFIED, PUBLISHER)


def test_topics_of_others_do_not_come_in(sender: Any, key: PrivateKey) -> None:
    """Only what begins with the feed's topic is subscribed to."""
    feed = Feed(endpoint_of(sender), topic_of(""))
    with Following([feed]) as following:

        def send() -> None:
            sender.send_multipart([b"org.fedora.prod.git", b"{}"])
            sender.send_multipart([topic_of(UPDATED).encode(), b"{}"])

        send_until(send, lambda: following.arrivals)
        assert {arrival.heard.topic for arrival in following.arrivals} == {topic_of(UPDATED)}


def test_garbage_is_survived(sender: Any, key: PrivateKey) -> None:
    """Frames of any number and content are survived, and the next good message is heard."""
    topic = topic_of(UPDATED).encode()
    body = sign(key, UPDATED, update_msg())
    feed = Feed(endpoint_of(sender), "", Voice(PUBLISHER, topic_of(""), (key.public,)))
    with Following([feed]) as following:

        def send() -> None:
            for frames in GARBAGE:
                sender.send_multipart(frames)
            sender.send_multipart([topic, body])

        def verified() -> bool:
            return any(arrival.heard.trust is Trust.VERIFIED for arrival in tuple(following.arrivals))

        send_until(send, verified)


@pytest.mark.slow
def test_a_peer_that_breaks_the_protocol_is_connected_to_again(sender: Any, key: PrivateKey) -> None:
    """ZeroMQ gives up a peer that sends one frame above the limit; the follower comes back."""
    topic = topic_of(UPDATED).encode()
    feed = Feed(endpoint_of(sender), "", Voice(PUBLISHER, topic_of(""), (key.public,)))
    body = sign(key, UPDATED, update_msg())
    with Following([feed]) as following:
        send_until(lambda: sender.send_multipart([topic, body]), lambda: following.arrivals)
        sender.send_multipart([topic, b"x" * (2 * MAX_SHOWN_BYTES)])
        later = sign(key, UPDATED, update_msg(serial=99))

        def heard_later() -> bool:
            return any(arrival.heard.msg.get("serial") == 99 for arrival in tuple(following.arrivals))

        send_until(lambda: sender.send_multipart([topic, later]), heard_later)


def test_it_ends_when_nobody_reads_the_output_any_more(sender: Any) -> None:
    """Without any message the follower ends as soon as the reader of its output has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with Follower([Feed(endpoint_of(sender))], lambda: 0, output=writing) as follower:
            assert list(follower.messages()) == []
    finally:
        os.close(writing)


def test_an_endpoint_that_zeromq_refuses_is_a_usage_error() -> None:
    """What slips through the check of the text is refused by a clear error, and nothing stays open."""
    with pytest.raises(UsageError), contextlib.ExitStack() as stack:
        stack.enter_context(Follower([Feed("nonsense://127.0.0.1:1")], lambda: 0))
