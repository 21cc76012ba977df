"""A service that answers listed nodes alone, on real sockets: who gets in, by what, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.core.admission import NONCE_SECONDS
from pushmirror.errors import ServiceError
from pushmirror.http.credentials import Credentials
from pushmirror.http.door import Door
from pushmirror.http.questions import ListQuestion, ReportQuestion, StateQuestion
from pushmirror.keys import PrivateKey, generate_key_file, load_private_key
from pushmirror.nodes import AuthorizedNodes
from pushmirror.subscriber.service_client import ServiceClient
from tests.http.answering import LIST, STATE, Service
from tests.support.reactor import Spin

NAME, NODE = "mirror.example.org", "t2.example.net"


class Clock:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def threads(reactor: Any) -> Iterator[None]:
    """The threads of a running reactor, in which names are resolved."""
    reactor.startRunning(installSignalHandlers=False)
    reactor.iterate(0)
    yield
    reactor.getThreadPool().stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list with one node, whose key lies beside it."""
    public = generate_key_file(tmp_path / "key", NODE)
    generate_key_file(tmp_path / "other", "other.example.net")
    path = tmp_path / "authorized_nodes"
    path.write_text(f"{public.line} {NODE}\n")
    return path


@pytest.fixture
def key(listed: Path) -> PrivateKey:
    return load_private_key(listed.with_name("key"))


@pytest.fixture
def service(reactor: Any, spin: Spin, listed: Path, clock: Clock) -> Iterator[Service]:
    service = Service(reactor, spin, door=Door(NAME, AuthorizedNodes(listed), clock))
    yield service
    service.close()


def challenge(service: Service) -> list[str]:
    """Ask as a stranger; return what has to be signed with."""
    status, headers, _ = service.ask()
    assert status == 401
    return [headers["www-authenticate"]]


def ask_as(service: Service, credentials: Credentials, path: str = STATE, signed: str | None = None) -> int:
    """Ask with a signature over `signed`, or over what is asked; return the status."""
    (header,) = credentials.headers(b"GET", (signed or path).encode(), b"")["Authorization"]
    return service.ask(path, Authorization=header)[0]


def known(service: Service, node: str, key: PrivateKey, name: str = NAME) -> Credentials:
    credentials = Credentials(node, key, name)
    assert credentials.learn(challenge(service))
    return credentials


def test_a_listed_node_is_answered_and_nothing_of_it_may_be_cached(service: Service, key: PrivateKey) -> None:
    """With one nonce all is asked: states, lists; what came is not for anybody on the way."""
    credentials = known(service, NODE, key)
    assert [ask_as(service, credentials, path) for path in (STATE, LIST, STATE)] == [200, 200, 200]
    (header,) = credentials.headers(b"GET", LIST.encode(), b"")["Authorization"]
    assert service.ask(LIST, Authorization=header)[1]["cache-control"] == "no-store"
    assert [type(each) for each in service.answers.asked] == [StateQuestion, ListQuestion, StateQuestion, ListQuestion]


def test_whoever_is_not_listed_or_signs_something_else_is_refused(
    service: Service, key: PrivateKey, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown name, another's key, a signature for another service and one over another request are 403; the log
    names the node once, and nobody who knows the answers was asked."""
    other = load_private_key(listed.with_name("other"))
    assert ask_as(service, known(service, "other.example.net", other)) == 403
    assert ask_as(service, known(service, NODE, other)) == 403
    assert ask_as(service, known(service, NODE, key, "another.example.org")) == 403
    assert ask_as(service, known(service, NODE, key), LIST, signed=STATE) == 403
    assert service.answers.asked == []
    assert caplog.text.count("a request of other.example.net was refused") == 1


@pytest.mark.parametrize("header", ["", "Basic dXNlcjpwYXNz", "\xff\xfe", "Pushmirror " + "x" * 2000])
def test_other_authorizations_are_as_good_as_none(service: Service, header: str) -> None:
    """Nonsense gets a nonce and no answer."""
    assert service.ask(Authorization=header)[0] == 401
    assert service.answers.asked == []


def test_a_request_that_was_overheard_is_of_no_use_later(service: Service, key: PrivateKey, clock: Clock) -> None:
    """The same header is not taken after ten minutes; the node itself signs anew."""
    credentials = known(service, NODE, key)
    assert ask_as(service, credentials) == 200
    clock.now_s += NONCE_SECONDS
    assert ask_as(service, credentials) == 401
    assert ask_as(service, known(service, NODE, key)) == 200


def test_the_list_is_read_again_when_it_changes(service: Service, key: PrivateKey, listed: Path) -> None:
    """A node that is taken off is refused at its next request."""
    credentials = known(service, NODE, key)
    assert ask_as(service, credentials) == 200
    listed.write_text("# nobody\n")
    assert ask_as(service, credentials) == 403


@pytest.mark.usefixtures("threads")
def test_a_subscribers_client_makes_itself_known_and_does_so_again(
    reactor: Any, spin: Spin, service: Service, key: PrivateKey, clock: Clock, listed: Path
) -> None:
    """It asks once more with the nonce that it was given, also when that has become old; what it posts is covered. When
    the service does not know it the error and `fault` say so, until it does."""
    url = f"http://127.0.0.1:{service.port}"
    client = ServiceClient(reactor, url, NAME, lambda tree: (), "a", "b", credentials=Credentials(NODE, key, NAME))

    def report() -> Exception | None:
        done: list[Any] = []
        Deferred.fromCoroutine(client.report(b"a report")).addBoth(done.append)
        spin(lambda: done)
        return None if done[0] is None else done[0].value

    assert report() is None
    clock.now_s += NONCE_SECONDS
    assert report() is None
    assert service.answers.asked == [ReportQuestion(), ReportQuestion()]
    line = listed.read_text()
    listed.write_text("# nobody\n")
    assert isinstance(report(), ServiceError) and "does not know this node" in str(client.fault)
    listed.write_text(line)
    assert (report(), client.fault) == (None, None)
