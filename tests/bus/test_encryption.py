"""The encrypted bus on real sockets over loopback: who is let in, who is not, and what either side is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pushmirror.bus.connection import BROKEN_GREETING, NOT_LISTED
from pushmirror.bus.encryption import ServerCurve, make_client_curve, make_server_curve
from pushmirror.bus.sender import ZeroMQSender
from pushmirror.bus.sockets import check_curve
from pushmirror.bus.zeromq import ZeroMQReceiver
from pushmirror.curve import CurvePair, generate_curve_file, generate_pair, load_curve_pair
from pushmirror.errors import UsageError
from pushmirror.nodes import AuthorizedNodes
from tests.support.reactor import Spin

pytestmark = pytest.mark.slow

Hear = Callable[..., tuple[ZeroMQReceiver, list[bytes]]]


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of nodes, empty at first."""
    path = tmp_path / "authorized_nodes"
    path.touch()
    return path


@pytest.fixture
def sender(tmp_path: Path, reactor: Any, listed: Path, closing: contextlib.ExitStack) -> ZeroMQSender:
    """The end of a private publisher."""
    generate_curve_file(tmp_path / "bus", "mirror.example.org")
    sender = ZeroMQSender(
        reactor, "tcp://127.0.0.1:0", curve=make_server_curve(tmp_path / "bus", AuthorizedNodes(listed))
    )
    closing.callback(sender.close)
    return sender


@pytest.fixture
def server_key(tmp_path: Path, sender: ZeroMQSender) -> str:
    return load_curve_pair(tmp_path / "bus").public.text


@pytest.fixture
def hear(reactor: Any, sender: ZeroMQSender, closing: contextlib.ExitStack) -> Hear:
    """Makes a receiver, and the list of what it has heard."""

    def make(server: str | None, pair: CurvePair | None = None) -> tuple[ZeroMQReceiver, list[bytes]]:
        heard: list[bytes] = []
        curve = make_client_curve(server, pair)
        receiver = ZeroMQReceiver(
            reactor, sender.endpoint, [b""], lambda _, body: heard.append(body), check_seconds=0.3, curve=curve
        )
        closing.callback(receiver.close)
        receiver.start()
        return receiver, heard

    return make


def send_until(spin: Spin, sender: ZeroMQSender, condition: Callable[[], object]) -> None:
    def tried() -> object:
        sender.send(b"topic", b"body")
        return condition()

    spin(tried)


def test_listed_nodes_hear_and_all_others_know_why_they_do_not(
    spin: Spin, sender: ZeroMQSender, server_key: str, hear: Hear, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of five that connect at once the listed one and the bus's own operator hear; the other three are told what is
    wrong, and so is the publisher, which counts them."""
    node, own = generate_pair(), load_curve_pair(listed.with_name("bus"))
    listed.write_text(f"{node.public.line} t2.example.net\n")
    right, owner = hear(server_key, node), hear(server_key, own)
    unlisted, misled, plain = hear(server_key), hear(generate_pair().public.text, node), hear(None)
    send_until(
        spin, sender, lambda: right[1] and owner[1] and all(sender.refused[each] for each in ("key", "greeting"))
    )
    spin(lambda: unlisted[0].fault and misled[0].fault and plain[0].fault)
    assert [unlisted[0].fault, misled[0].fault, plain[0].fault] == [NOT_LISTED, BROKEN_GREETING, BROKEN_GREETING]
    assert [right[0].fault, owner[0].fault] == [None, None]
    assert [unlisted[1], misled[1], plain[1]] == [[], [], []]
    shown = sender.show()
    assert (shown["encrypted"], shown["private"], shown["restarts"]) == (True, True, 0)
    assert "is not in authorized_nodes: 127.0.0.1 " in caplog.text


def test_who_is_taken_off_the_list_hears_no_more_and_who_is_put_on_it_does(
    spin: Spin, sender: ZeroMQSender, server_key: str, hear: Hear, listed: Path
) -> None:
    """The list is read again when it has changed; connections that stand do not outlive it."""
    first, second = generate_pair(), generate_pair()
    listed.write_text(f"{first.public.line} first\n")
    _, heard_first = hear(server_key, first)
    send_until(spin, sender, lambda: heard_first)
    listed.write_text(f"{second.public.line} second\n")
    _, heard_second = hear(server_key, second)
    send_until(spin, sender, lambda: heard_second)
    before = len(heard_first)
    for _ in range(20):
        sender.send(b"topic", b"body")
    already = len(heard_second)
    spin(lambda: len(heard_second) >= already + 20)
    assert len(heard_first) == before


def test_a_bus_that_is_encrypted_and_not_private_is_heard_by_anybody(
    spin: Spin, reactor: Any, closing: contextlib.ExitStack
) -> None:
    """Whoever has the publisher's public key may listen, with any key of his own; nothing travels in the clear."""
    pair = generate_pair()
    sender = ZeroMQSender(reactor, "tcp://127.0.0.1:0", curve=ServerCurve(pair.secret))
    closing.callback(sender.close)
    heard: list[bytes] = []
    curve = make_client_curve(pair.public.text, None)
    receiver = ZeroMQReceiver(reactor, sender.endpoint, [b""], lambda _, body: heard.append(body), curve=curve)
    closing.callback(receiver.close)
    receiver.start()
    send_until(spin, sender, lambda: heard)


def test_without_encryption_in_zeromq_the_error_says_what_to_install() -> None:
    """A ZeroMQ that was built without CURVE is named as the reason; one with it passes."""
    with pytest.raises(UsageError, match="built without encryption"):
        check_curve(False)
    check_curve(zmq.has("curve"))


def test_secret_keys_are_in_no_arguments_and_no_environment(sender: ZeroMQSender, tmp_path: Path, spin: Spin) -> None:
    """What other users of the machine may see of the bus's process has no key in it."""
    secret = load_curve_pair(tmp_path / "bus").secret.encode()
    seen = [Path(f"/proc/{sender.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert b"pushmirror.bus.outlet" in seen[0]
    assert not any(secret in each for each in seen)
