"""The service over https: what it shows, what a client believes, and what it says when it does not."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.core.limits import Limits
from pushmirror.errors import KeyFileError, MalformedMessage, ServiceError
from pushmirror.http.certificate import LOOK_EVERY_S, Certificate
from pushmirror.http.trust import Trust
from pushmirror.keys import generate_key_file
from pushmirror.subscriber.service_client import ServiceClient
from tests.http.answering import LIST, Service
from tests.publisher.daemon import Publisher
from tests.support.certificates import DAY, NOW, Authority
from tests.support.processes import REPOSITORY, clean_environment
from tests.support.reactor import Spin
from tests.support.waiting import wait_until

Make = Callable[..., Service]
Ask = Callable[..., str]
TAKEN = "taken"


@pytest.fixture(autouse=True)
def threads(reactor: Any) -> Iterator[None]:
    """The threads of a running reactor, in which names are resolved."""
    reactor.startRunning(installSignalHandlers=False)
    reactor.iterate(0)
    yield
    reactor.getThreadPool().stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca.crt")


@pytest.fixture
def make(reactor: Any, spin: Spin) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def make(pair: tuple[Path, Path], limits: Limits | None = None, clock_s: Any = None) -> Service:
            service = Service(reactor, spin, limits, certificate=Certificate(*pair, clock_s or reactor.seconds))
            stack.callback(service.close)
            return service

        yield make


@pytest.fixture
def ask(reactor: Any, spin: Spin, tmp_path: Path) -> Ask:
    """Ask with the real client; `TAKEN` when there was an answer, otherwise the error in one line."""
    key = generate_key_file(tmp_path / "publisher.key", "publisher")

    def ask(url: str, authorities: Path | None = None) -> str:
        client = ServiceClient(reactor, url, "p", lambda tree: [key], "org.example", "test", Trust(authorities))
        found: list[Any] = []
        Deferred.fromCoroutine(client.state("debian")).addBoth(found.append)
        spin(lambda: found)
        if found[0].check(MalformedMessage):  # what the service of these tests says is no state
            return TAKEN
        assert found[0].check(ServiceError), found[0]
        text = str(found[0].value)
        assert "\n" not in text and len(text) < 300
        return text

    return ask


def test_a_certificate_of_a_named_authority_is_believed(
    make: Make, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    """With its file the question gets through, by name and by address."""
    service = make(authority.issue(tmp_path / "tls", "localhost", "127.0.0.1"))
    for host in ("localhost", "127.0.0.1"):
        assert ask(f"https://{host}:{service.port}", authority.path) == TAKEN


def test_what_leads_to_the_authority_comes_with_the_certificate(
    make: Make, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    """The chain in the file is shown, so that the root alone need be known; without it nothing is believed."""
    between = Authority(tmp_path / "between.crt", "between", above=authority)
    whole = make(between.issue(tmp_path / "whole", "127.0.0.1", chain=(between,)))
    assert ask(f"https://127.0.0.1:{whole.port}", authority.path) == TAKEN
    bare = make(between.issue(tmp_path / "bare", "127.0.0.1"))
    assert "unknown here" in ask(f"https://127.0.0.1:{bare.port}", authority.path)


def test_a_certificate_that_is_not_believed_is_explained(
    make: Make, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    """Wrong name, expired, not valid yet, unknown authority: each by its name, and nothing is asked."""
    other = Authority(tmp_path / "other.crt", "other")
    cases = [
        (authority.issue(tmp_path / "name", "mirror.example.org", "10.0.0.1"), authority.path,
         "not for 127.0.0.1: it is for mirror.example.org, 10.0.0.1"),
        (authority.issue(tmp_path / "old", "127.0.0.1", start=NOW - 2 * DAY, end=NOW - DAY), authority.path,
         f"has expired: CN=127.0.0.1, on {NOW - DAY:%Y-%m-%d}"),
        (authority.issue(tmp_path / "young", "127.0.0.1", start=NOW + DAY, end=NOW + 2 * DAY), authority.path,
         "not valid yet: CN=127.0.0.1, before"),
        (authority.issue(tmp_path / "unknown", "127.0.0.1"), other.path,
         "unknown here (CN=test authority): name its file as service_ca"),
        (authority.issue(tmp_path / "system", "127.0.0.1"), None, "unknown here"),
    ]  # fmt: skip
    for pair, authorities, reason in cases:
        service = make(pair)
        assert reason in ask(f"https://127.0.0.1:{service.port}", authorities)
        assert service.answers.asked == []


def test_http_and_https_that_meet_are_an_error_and_no_more(
    reactor: Any, spin: Spin, make: Make, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    """Either side says so, and goes on."""
    plain = Service(reactor, spin, Limits(request_s=0.5))
    assert "did not answer" in ask(f"https://127.0.0.1:{plain.port}")
    plain.close()
    secure = make(authority.issue(tmp_path / "tls", "127.0.0.1"))
    ask(f"http://127.0.0.1:{secure.port}")
    assert secure.answers.asked == []
    assert ask(f"https://127.0.0.1:{secure.port}", authority.path) == TAKEN


def test_a_renewed_certificate_is_shown_without_a_restart(
    make: Make, spin: Spin, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the files are looked at again; a pair that does not fit is logged, and the one of before stays."""
    now_s = [0.0]
    service = make(authority.issue(tmp_path / "tls", "localhost"), clock_s=lambda: now_s[0])
    context = ssl.create_default_context(cafile=authority.path)
    context.check_hostname = False

    def shown() -> object:
        return service.run(service.shake_hands, context, "localhost")["subject"][0][0][1]

    authority.issue(tmp_path / "tls", "second.example.org")
    assert shown() == "localhost"
    now_s[0] += LOOK_EVERY_S
    assert shown() == "second.example.org"
    authority.issue(tmp_path / "new", "third.example.org")
    os.replace(tmp_path / "new" / "service.crt", tmp_path / "tls" / "service.crt")
    now_s[0] += LOOK_EVERY_S
    with caplog.at_level(logging.ERROR):
        assert shown() == "second.example.org"
    assert "the one of before stays" in caplog.text and not [r for r in caplog.records if r.exc_info]
    os.replace(tmp_path / "new" / "service.key", tmp_path / "tls" / "service.key")
    now_s[0] += LOOK_EVERY_S
    assert shown() == "third.example.org"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_version_of_tls_is_refused(make: Make, authority: Authority, tmp_path: Path) -> None:
    """TLS 1.2 is the least."""
    service = make(authority.issue(tmp_path / "tls", "localhost"))
    context = ssl.create_default_context(cafile=authority.path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert service.run(service.shake_hands, context, "localhost")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.path)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        service.run(service.shake_hands, old, "localhost")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", os.urandom(3000)])
def test_a_handshake_that_does_not_come_is_not_waited_for(
    make: Make, authority: Authority, tmp_path: Path, sent: bytes
) -> None:
    """The limits of http hold below TLS too: silence, half a handshake, no TLS at all."""
    service = make(authority.issue(tmp_path / "tls", "localhost"), Limits(request_s=0.5))

    def wait_for_the_end() -> bool:
        with service.connect() as connection:
            connection.sendall(sent)
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass
        return True

    assert service.run(wait_for_the_end)
    assert service.connections == 0


def test_a_reader_over_tls_that_stalls_is_cut_off(make: Make, spin: Spin, authority: Authority, tmp_path: Path) -> None:
    """An answer is produced no faster over TLS than it is read."""
    service = make(authority.issue(tmp_path / "tls", "localhost"), Limits(stall_s=0.5))
    made = [0]

    def chunks() -> Iterator[bytes]:
        for _ in range(1000):
            made[0] += 1
            yield b"x" * 65536

    service.answers.chunks = chunks
    context = ssl.create_default_context(cafile=authority.path)

    def ask_and_stall() -> ssl.SSLSocket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", service.port))
        secure = context.wrap_socket(plain, server_hostname="localhost")
        secure.sendall(f"GET {LIST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return secure

    with service.run(ask_and_stall):
        spin(lambda: service.answers.asked and not service.answers.open_answers, 10)
    assert made[0] < 100


def test_a_pair_that_cannot_be_used_is_refused_with_advice(authority: Authority, tmp_path: Path) -> None:
    """Missing, open to others, of another certificate, with a passphrase, not PEM: each names the file and the cure."""
    certificate, key = authority.issue(tmp_path / "tls", "localhost")
    _, other_key = authority.issue(tmp_path / "other", "localhost")
    _, locked_key = authority.issue(tmp_path / "locked", "localhost", passphrase=b"secret")
    nonsense, open_key = tmp_path / "nonsense", tmp_path / "open.key"
    nonsense.write_text("nonsense")
    nonsense.chmod(0o600)
    open_key.write_bytes(key.read_bytes())
    open_key.chmod(0o640)
    for pair, advice in [
        ((certificate, tmp_path / "nowhere"), "nowhere: cannot be read"),
        ((tmp_path / "nowhere", key), "nowhere: cannot be read"),
        ((certificate, open_key), "chmod 600"),
        ((certificate, other_key), "not the key of the first certificate"),
        ((certificate, locked_key), "passphrase"),
        ((nonsense, key), "holds no certificate"),
        ((certificate, nonsense), "holds no private key"),
    ]:
        with pytest.raises(KeyFileError, match=advice):
            Certificate(*pair, lambda: 0.0)
    with pytest.raises(KeyFileError, match="holds no certificate"):
        Trust(nonsense)


@pytest.mark.slow
def test_a_publisher_speaks_https_with_a_subscribers_client(authority: Authority, tmp_path: Path) -> None:
    """With the settings alone: `service: https://...`, its certificate and key, and the authority at the client."""
    publisher = Publisher(tmp_path)
    certificate, key = authority.issue(tmp_path / "tls", "127.0.0.1")
    url = publisher.service.replace("http://", "https://")
    text = publisher.config.read_text().replace(publisher.service, url)
    publisher.config.write_text(f"{text}service_certificate: {certificate}\nservice_key: {key}\n")
    with publisher.daemon() as daemon:
        daemon.wait_for_socket(publisher.control)
        publisher.announce()
        wait_until(lambda: publisher.status()["trees"]["debian"]["sent"] == 1, what="the announcement")
        epoch = str(publisher.status()["epoch"])
        fetched = subprocess.run(
            [sys.executable, "-m", "tests.http.history_client", url, publisher.key.line, epoch, str(authority.path)],
            cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["updates"] == 1
