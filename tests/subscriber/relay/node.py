"""A mirror that relays an upstream, over a real ledger: what it hears and applies is in the hands of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import parse_update
from pushmirror.core.model import Head
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import digest, open_envelope
from pushmirror.http.serving import ServiceFactory
from pushmirror.keys import PrivateKey, PublicKey, load_private_key
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.journal_rows import UpdateRow
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.relay.answers import RelayAnswers
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.relay.forwarding import Destination, Forwarding
from pushmirror.subscriber.relay.herald import Herald
from pushmirror.subscriber.relay.proofs import Origin, ShownProofs
from pushmirror.subscriber.relay.voice import Voice
from tests.subscriber.upstream import ENVIRONMENT, IDENTITY, PREFIX, PUBLISHER, START_MS, TREE, Time, Upstream, make_key

RELAY = "r.example.net"


def heard(upstream: Upstream, row: UpdateRow) -> HeardUpdate:
    """Return an update of `upstream` as a subscriber has it that fetched it."""
    envelope = open_envelope(row.envelope())
    update = parse_update(envelope.msg)
    listed = None
    if update.changes is None and row.list_digest is not None:
        listed = upstream.journal.list_body(row.list_digest)
    return HeardUpdate(update, digest(envelope.signed), update.changes, envelope.travelling, listed)


class RelayNode:
    """A node that keeps the updates of a tree; made again in the same folder it goes on as after a kill.

    `handed_on` are reports that it passed up, `shown` what it was shown and passed up if it is signed with one of the
    `origin_keys`, or of the `tree_keys` of what it tells about; `sent` is what its bus carried.
    """

    def __init__(self, folder: Path, *, now_ms: int = START_MS) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "ledger.sqlite"
        self.time = Time(now_ms)
        self.ledger = Ledger(self.path)
        self.ledger.open_tree(TREE, IDENTITY)
        self.ledger.keep_updates(TREE, True, self.time())
        key = folder / "relay.key"
        self.key: PrivateKey = load_private_key(key) if key.exists() else make_key(folder, key.name)
        self.copies = Copies(self.ledger, self.ledger.kept, {TREE: PUBLISHER}, ())
        self.voice = Voice(RELAY, self.key, {PUBLISHER: (PREFIX, ENVIRONMENT)}, self.time)
        self.handed_on: list[bytes] = []
        self.shown: list[bytes] = []
        self.origin_keys: list[PublicKey] = []
        self.tree_keys: dict[str, list[PublicKey]] = {}
        self.sent: list[tuple[bytes, bytes]] = []
        self._bus = MemoryBus(immediate=True)
        self._bus.receiver([b""], lambda name, body: self.sent.append((name, body))).start()

    def answers(self, nodes: Path | None = None) -> RelayAnswers:
        """Return what its service answers; reports of `nodes` are taken."""
        known = None if nodes is None else AuthorizedNodes(nodes)
        destinations = {PUBLISHER: Destination(PREFIX, ENVIRONMENT, self.handed_on.append)}
        forwarding = Forwarding(known, destinations, self.copies.publishers, self.time)
        ring = KeyRing(PUBLISHER, self.origin_keys, self.ledger, self.time, tree_keys=self.tree_keys)
        origins = {PUBLISHER: Origin(PREFIX, ENVIRONMENT, ring, self.shown.append)}
        proofs = ShownProofs(self.ledger, origins, self.copies.publishers, self.time)
        return RelayAnswers(self.copies, self.ledger.kept, self.voice, forwarding, proofs, self.ledger)

    def herald(self, clock: Any) -> Herald:
        """Return what speaks on its bus."""
        return Herald(
            clock,
            copies=self.copies,
            kept=self.ledger.kept,
            voice=self.voice,
            sender=self._bus.sender(),
            heartbeat_ms=30_000,
            clock_ms=self.time,
        )

    def serve(self, reactor: Any, answers: RelayAnswers) -> tuple[Any, str]:
        """Listen with its service; returns the port and its URL."""
        port = reactor.listenTCP(0, ServiceFactory(reactor, answers), interface="127.0.0.1")
        return port, f"http://127.0.0.1:{port.getHost().port}"

    def begin(self, head: Head, testimony: bytes | None = None) -> None:
        """Start over at `head`, in another history, of which the publisher told in `testimony`."""
        self.ledger.start_over(TREE, head, 0, self.time(), same_history=False, testimony=testimony)

    def hear(self, upstream: Upstream, *rows: UpdateRow) -> None:
        """Record updates as announced."""
        self.ledger.announce_all(TREE, [heard(upstream, row) for row in rows], self.time())

    def apply(self, serial: int, *, deletions: tuple[TreePath, ...] = (), **replaced: Any) -> None:
        """Record that everything up to `serial` is in place, and what is to be deleted."""
        record = self.ledger.tree(TREE)
        values: dict[str, Any] = {"settled": (), "due_ms": 0, "entries": 10, "incomplete": (), **replaced}
        assert self.ledger.finish_puts(TREE, serial, record.generation, deletions, **values)

    @property
    def applied(self) -> int | None:
        """The serial that it hands the tree on up to; None when it does not."""
        copy = self.copies.copy(TREE)
        return None if copy is None else copy.head.applied.serial
