"""An upstream for the subscriber's tests: a real journal and a real HTTP service, and frames for the bus as values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import HEARTBEAT, UPDATED, format_heartbeat, topic
from pushmirror.core.model import ChangeList, Head, Heartbeat
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import open_envelope
from pushmirror.http.answers import Answer, NoContent
from pushmirror.http.questions import Question, Refusal
from pushmirror.http.serving import ServiceFactory
from pushmirror.keys import PrivateKey, generate_key_file, load_private_key, seal
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate, UpdateRow
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import SingleKey

PUBLISHER = "t1.example.org"
NODE = "t2.example.net"
TREE = "debian"
OTHER_TREE = "fedora"
PREFIX, ENVIRONMENT = "org.example", "test"
IDENTITY = "t1.example.org rsync://127.0.0.1/debian/ /srv/debian"
START_MS = 1_790_000_000_000

Lie = Callable[[Question], "Answer | NoContent | Refusal | None"]


def paths(*names: str) -> tuple[TreePath, ...]:
    """Return names as paths of a tree, sorted."""
    return tuple(sorted(TreePath(name.encode()) for name in names))


def put(*names: str) -> ChangeList:
    """Return the change list of some puts."""
    return ChangeList(changed=paths(*names))


def make_key(folder: Path, name: str) -> PrivateKey:
    """Return a new key, kept in `folder`."""
    generate_key_file(folder / name, name)
    return load_private_key(folder / name)


@dataclass
class Time:
    """A wall clock in the hands of a test, in milliseconds since the epoch."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms


class _Service:
    """The publisher's answers, unless the test has a `lie` to tell; `asked` are the questions so far."""

    def __init__(self, honest: Answers) -> None:
        self.honest = honest
        self.asked: list[Question] = []
        self.bodies: list[bytes] = []
        self.lie: Lie | None = None

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        self.asked.append(question)
        if body:
            self.bodies.append(body)
        lie = self.lie(question) if self.lie is not None else None
        return self.honest.answer(question, body) if lie is None else lie


class Upstream:
    """A publisher in `folder`. `epoch_ms` is when its journal was made, `key` what it signs with."""

    def __init__(self, reactor: Any, folder: Path, *, epoch_ms: int = START_MS) -> None:
        self._reactor = reactor
        self._folder = folder
        self.identity = Identity(PUBLISHER, PREFIX, ENVIRONMENT)
        self.key = make_key(folder, "publisher.key")
        self.node_key = make_key(folder, "node.key")
        self.time = Time()
        self._counter = 0
        self._journals: list[Journal] = []
        (folder / "nodes").write_text(f"{self.node_key.public.line} {NODE}\n")
        self.heard: list[tuple[bytes, bytes]] = []
        bus = MemoryBus(immediate=True)
        bus.receiver([b""], lambda name, body: self.heard.append((name, body))).start()
        self._sender = bus.sender()
        self.journal = self.new_journal(epoch_ms)
        self.service = _Service(self._honest())
        answers: Any = self.service  # it may lie, so that it promises less than honest answers do
        self._port: Any = reactor.listenTCP(0, ServiceFactory(reactor, answers), interface="127.0.0.1")
        self.number: int = self._port.getHost().port
        self.url = f"http://127.0.0.1:{self.number}"

    def _honest(self) -> Answers:
        trees = (TREE, OTHER_TREE)
        nodes = AuthorizedNodes(self._folder / "nodes")
        reports = Reports(
            nodes=nodes, identity=self.identity, trees=trees, sender=self._sender, clock_ms=lambda: START_MS
        )
        proofs = Proofs(
            journal=self.journal,
            keys=SingleKey(self.key),
            identity=self.identity,
            clock_ms=lambda: START_MS,
            renewed=lambda: None,
        )
        return Answers(self.journal, SingleKey(self.key), self.identity, trees, reports, proofs, self.time)

    def new_journal(self, epoch_ms: int) -> Journal:
        """Go on with an empty journal that was made at `epoch_ms`."""
        path = self._folder / f"journal{len(self._journals)}.sqlite"
        self.journal = Journal(path, clock_ms=lambda: epoch_ms)
        self._journals.append(self.journal)
        if hasattr(self, "service"):
            self.service.honest = self._honest()
        return self.journal

    def backup(self) -> Path:
        """Return a copy of the journal as it is now."""
        path = self._folder / f"backup{len(list(self._folder.glob('backup*')))}.sqlite"
        with sqlite3.connect(self.journal.path) as source, sqlite3.connect(path) as target:
            source.backup(target)
        return path

    def restore(self, path: Path) -> None:
        """Go on with a copy of the journal, as an operator does after a broken disk."""
        self.journal = Journal(path, clock_ms=lambda: START_MS)
        self._journals.append(self.journal)
        self.service.honest = self._honest()

    def forget(self, below: int, tree: str = TREE) -> None:
        """Keep no updates below that serial."""
        with sqlite3.connect(self.journal.path) as database:
            database.execute("DELETE FROM updates WHERE tree = ? AND serial < ?", (tree, below))

    def announce(self, *lists: ChangeList | None, tree: str = TREE) -> list[UpdateRow]:
        """Announce each of `lists` (None: the whole tree) and return the updates as they were sent."""
        for changes in lists:
            self.journal.announce(Announcement(self.identity, tree, changes))
        rows = self.journal.unsent(1000)
        signed = [SentUpdate(row.position, self.key.sign(row.signed), self.key.public.line) for row in rows]
        self.journal.mark_sent(signed, sent_ms=START_MS)
        return list(self.journal.updates_after(tree, rows[0].serial - 1, len(rows)))

    def head(self, tree: str = TREE) -> Head:
        """Return where the tree is."""
        return self.journal.head(tree)

    def update_frames(self, row: UpdateRow) -> tuple[bytes, bytes]:
        """Return the two frames of an announcement."""
        return topic(PREFIX, ENVIRONMENT, UPDATED).encode(), row.envelope()

    def heartbeat_frames(self, trees: dict[str, Head] | None = None, **replaced: Any) -> tuple[bytes, bytes]:
        """Return the two frames of a heartbeat, an honest one unless `trees` or another field is given."""
        self._counter += 1
        fields: dict[str, Any] = {
            "publisher": PUBLISHER, "counter": self._counter, "at_ms": self.time() + self._counter, "interval_ms": 1000,
            "trees": {TREE: self.head()} if trees is None else trees,
        }  # fmt: skip
        heartbeat = Heartbeat(**{**fields, **replaced})
        signed = self.identity.compose(HEARTBEAT, format_heartbeat(heartbeat), at_ms=START_MS, counter=1)
        return topic(PREFIX, ENVIRONMENT, HEARTBEAT).encode(), seal(signed, self.key)

    def sealed(self, kind: str, msg: dict[str, Any], key: PrivateKey | None = None) -> tuple[bytes, bytes]:
        """Return the two frames of any signed message."""
        signed = self.identity.compose(kind, msg, at_ms=START_MS, counter=1)
        return topic(PREFIX, ENVIRONMENT, kind).encode(), seal(signed, key or self.key)

    def message(self, row: UpdateRow) -> dict[str, Any]:
        """Return the ``msg`` of an update that was sent."""
        return dict(open_envelope(row.envelope()).msg)

    def stop(self) -> Deferred[Any]:
        """Stop listening; connections that are open stay so."""
        return maybeDeferred(self._port.stopListening)

    def close(self) -> None:
        for journal in self._journals:
            journal.close()


class RawService:
    """A server that answers every request with the same `body` bytes, whatever they are, and then perhaps says no more.

    `endless` repeats the last part for as long as the client takes it; `hang` leaves the connection open.
    """

    def __init__(self, reactor: Any, head: bytes, *, repeat: bytes = b"", hang: bool = False) -> None:
        self.open: set[_Raw] = set()
        self.requests = 0
        self.asked = b""
        self.sent_bytes = 0
        self.head, self.repeat, self.hang = head, repeat, hang
        factory = Factory.forProtocol(_Raw)
        factory.noisy = False
        factory.site = self  # type: ignore[attr-defined]  # the tests' own
        self._port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    def stop(self) -> Deferred[Any]:
        """Stop listening and break off whatever is open."""
        for protocol in tuple(self.open):
            protocol.transport.abortConnection()
        return maybeDeferred(self._port.stopListening)


class _Raw(Protocol):
    transport: Any

    def connectionMade(self) -> None:
        self.site: RawService = self.factory.site
        self.site.open.add(self)
        self._asked = b""

    def dataReceived(self, data: bytes) -> None:
        self._asked += data
        if b"\r\n\r\n" not in self._asked:
            return
        self.site.asked, self._asked = self._asked, b""
        self.site.requests += 1
        self.transport.write(self.site.head)
        if self.site.repeat:
            self.transport.registerProducer(self, False)
        elif not self.site.hang:
            self.transport.loseConnection()

    def resumeProducing(self) -> None:
        self.transport.write(self.site.repeat)
        self.site.sent_bytes += len(self.site.repeat)

    def stopProducing(self) -> None:
        """The client has gone."""

    def connectionLost(self, reason: object = None) -> None:
        self.site.open.discard(self)
