"""A service for tests, on a reactor that a test turns, with answers of its own."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pushmirror.core.addresses import Network
from pushmirror.core.limits import Limits
from pushmirror.http.answers import Answer, NoContent
from pushmirror.http.certificate import Certificate
from pushmirror.http.door import Door
from pushmirror.http.listening import MAX_CONNECTIONS
from pushmirror.http.questions import ListQuestion, Question, Refusal
from pushmirror.http.service import make_http_service
from tests.support.ports import free_port
from tests.support.reactor import Spin

STATE = "/v1/trees/debian?nonce=12345678"
LIST = f"/v1/trees/debian/lists/{'0' * 64}"


class Answers:
    """Says `short` to every question, and for a list as many chunks as `chunks` has; `asked` are the questions."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.chunks: Callable[[], Iterator[bytes]] = lambda: iter([b"x" * 1000])
        self.open_answers = 0

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        self.asked.append(question)
        if isinstance(question, ListQuestion):
            return Answer("application/json", "no-store", self._counted())
        return Answer("application/json", "no-store", iter([b"short"]), 5)

    def _counted(self) -> Iterator[bytes]:
        self.open_answers += 1
        try:
            yield from self.chunks()
        finally:
            self.open_answers -= 1


class Service:
    """The service at `address`, from its start to `close`."""

    def __init__(
        self,
        reactor: Any,
        spin: Spin,
        limits: Limits | None = None,
        proxies: Sequence[Network] = (),
        certificate: Certificate | None = None,
        door: Door | None = None,
        max_connections: int = MAX_CONNECTIONS,
        answers: Answers | None = None,
    ) -> None:
        self.answers = answers or Answers()
        self.port = free_port()
        self._spin = spin
        scheme = "http" if certificate is None else "https"
        address = f"{scheme}://127.0.0.1:{self.port}"
        self._service = make_http_service(
            reactor, address, self.answers, limits or Limits(), proxies, certificate, door, max_connections
        )
        self._service.startService()
        self._pool = ThreadPoolExecutor(4)

    def run(self, function: Callable[..., Any], *arguments: Any, deadline_seconds: float = 20) -> Any:
        """Run a blocking client in a thread, while the reactor turns in this one."""
        running = self._pool.submit(function, *arguments)
        self._spin(running.done, deadline_seconds)
        return running.result()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection from an address of loopback; blocks for no longer than 10 s afterwards."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10, source_address=(source, 0))

    def ask(self, path: str = STATE, source: str = "127.0.0.1", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask from an address; return status, headers with their names in lower case, and body."""
        return self.run(self.ask_here, path, source, headers)  # type: ignore[no-any-return]  # as it is given

    def ask_here(
        self,
        path: str = STATE,
        source: str = "127.0.0.1",
        headers: dict[str, str] | None = None,
        method: str = "GET",
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask in the thread that calls."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(source, 0))
        with contextlib.closing(client):
            named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
            client.request(method, path, headers=named)
            answer = client.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def shake_hands(self, context: ssl.SSLContext, host: str) -> dict[str, Any]:
        """Return the certificate that is shown over TLS, as `ssl` describes it."""
        with self.connect() as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            return dict(secure.getpeercert() or {})

    @property
    def connections(self) -> int:
        """How many connections are open, as the kernel has it."""
        rows = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
        established = [row.split()[1] for row in rows if row.split()[3] in ("01", "04", "05", "08")]
        return sum(int(address.rpartition(":")[2], 16) == self.port for address in established)

    def close(self) -> None:
        stopped = self._service.stopService()
        self._spin(lambda: stopped.called)
        self._pool.shutdown()
