"""The publisher as an operator runs it: a process of its own, asked and heard from outside."""

from __future__ import annotations

import base64
import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from pushmirror.core.messages import epoch_order, format_report
from pushmirror.core.model import Event, Report
from pushmirror.keys import generate_key_file, load_private_key, seal
from pushmirror.publisher.identity import Identity
from tests.publisher.daemon import Listener, Publisher
from tests.publisher.journals import copy_journal
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def heard(publisher: Publisher) -> Iterator[Listener]:
    with Listener(publisher.endpoint) as listener:
        yield listener


def verify(publisher: Publisher, body: bytes) -> dict[str, Any]:
    """Check a message as somebody would who has only docs/protocol.md, and return its ``msg``."""
    message = json.loads(body)
    signature = base64.b64decode(message.pop("signature"))
    certificate = message.pop("certificate")
    assert certificate == publisher.key.line
    signed = json.dumps(message, sort_keys=True, separators=(",", ":")).encode()
    key = load_ssh_public_key(certificate.encode())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, signed)
    msg: dict[str, Any] = message["msg"]
    return msg


def test_an_announcement_reaches_whoever_listens(publisher: Publisher, heard: Listener) -> None:
    """One `publish`, and a subscriber that knows nothing of this program reads and verifies the update."""
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        heard.hear("tree.heartbeat")  # from here on nothing is missed
        done = publisher.publish("debian", "--path", "pool/a.deb", "--delete", "pool/old.deb")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
        topic, body = heard.hear("tree.updated")
        msg = verify(publisher, body)
        assert topic.decode() == json.loads(body)["topic"] == "org.example.prod.pushmirror.tree.updated"
        assert msg["list"] == {"changed": ["pool/a.deb"], "deleted": ["pool/old.deb"], "directories": []}
        assert (msg["serial"], msg["previous"], msg["changed"], msg["deleted"], msg["bytes"]) == (1, 0, 1, 1, 7)
        assert (msg["max_clients"], msg["root_mtime_ns"]) == (20, publisher.tree.stat().st_mtime_ns)
        beat = verify(publisher, heard.hear("tree.heartbeat")[1])
        assert beat["trees"]["debian"]["serial"] == 1


def test_what_is_announced_while_the_daemon_is_down_is_sent_when_it_comes(
    publisher: Publisher, heard: Listener
) -> None:
    """A serial that was printed is never lost: the first daemon to start sends it."""
    done = publisher.publish("debian", "--whole-tree")
    assert (done.returncode, done.stdout) == (0, b"1\n")
    assert b"next start" in done.stderr
    with publisher.daemon() as daemon:
        daemon.wait_for_line("announced debian serial 1")
        # The listener may have connected too late for the update itself; a heartbeat tells of it.
        beat = verify(publisher, heard.hear("tree.heartbeat")[1])
        assert beat["trees"]["debian"]["serial"] == 1
        status: Any = publisher.status()
        assert status["trees"]["debian"]["sent"] == 1


def test_an_update_between_commit_and_sending_survives_a_kill(publisher: Publisher) -> None:
    """The daemon is stopped before it can send and then killed: its successor sends the update."""
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        daemon.send(signal.SIGSTOP)
        assert publisher.announce() == 1
        daemon.kill_alone()
    assert "announced" not in daemon.log_text()
    with publisher.daemon() as successor:
        successor.wait_for_line("announced debian serial 1")
        with Listener(publisher.endpoint) as heard:
            first = verify(publisher, heard.hear("tree.heartbeat")[1])["trees"]["debian"]
            assert publisher.announce() == 2
            second = verify(publisher, heard.hear("tree.updated")[1])
        assert first["serial"] == 1
        assert (second["serial"], second["previous_digest"]) == (2, first["digest"])


def tree_status(publisher: Publisher) -> dict[str, Any]:
    status: Any = publisher.status()
    return dict(status["trees"]["debian"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(publisher: Publisher, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it with exit code 0; the control socket and the database's log are gone."""
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        publisher.announce()
        with urllib.request.urlopen(f"{publisher.service}/v1/trees/debian?nonce=12345678", timeout=10):
            daemon.send(number)
        assert daemon.wait() == 0
    assert "CRITICAL" not in daemon.log_text() and "Traceback" not in daemon.log_text()
    assert not publisher.control.exists()
    left = sorted(path.name for path in publisher.state_dir.iterdir())
    assert left == ["journal.sqlite", "journal.sqlite.epoch", "publisher.lock"]


def test_a_second_publisher_on_the_same_journal_is_refused(publisher: Publisher) -> None:
    """The second one says why it does not start, and the first one goes on."""
    with publisher.daemon() as first:
        first.wait_for_line("ready")
        after = len(first.log_text())
        with publisher.daemon() as second:
            assert second.wait() == 1
        text = first.log_text()[after:]
        assert "another publisher is running" in text and "Traceback" not in text
        assert publisher.announce() == 1
        wait_until(lambda: tree_status(publisher)["sent"] == 1, what="the first daemon to send")


def test_status_tells_what_was_announced_and_what_nodes_said(publisher: Publisher) -> None:
    """The control socket tells serials, the bus's endpoint, and the last report of each node."""
    generate_key_file(publisher.folder / "node.key", "t2.example.net")
    node_key = load_private_key(publisher.folder / "node.key")
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        publisher.announce()
        publisher.nodes.write_text(f"{node_key.public.line} t2.example.net\n")
        report = Report(Event.COMPLETED, "t2.example.net", "mirror.example.org", "debian", None, 1, 1, "list", files=1)
        speaker = Identity("t2.example.net", "org.example", "prod")
        now_ms = time.time_ns() // 10**6
        body = seal(speaker.compose("sync.completed", format_report(report), at_ms=now_ms, counter=1), node_key)
        with Listener(publisher.endpoint, "org.example.prod.pushmirror.sync.") as listener:
            # The listener's subscription is in effect when a heartbeat of a second one, made later, arrives.
            with Listener(publisher.endpoint) as probe:
                probe.hear("tree.heartbeat")
            request = urllib.request.Request(f"{publisher.service}/v1/reports", data=body, method="POST")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 204
            assert listener.hear("sync.completed")[1] == body
        status: Any = publisher.status()
    assert (status["role"], status["name"], status["endpoint"]) == (
        "publisher",
        "mirror.example.org",
        publisher.endpoint,
    )
    tree = status["trees"]["debian"]
    assert (tree["serial"], tree["sent"], tree["oldest"], len(tree["digest"])) == (1, 1, 1, 64)
    assert tree["url"] == "rsync://mirror.example.org/debian/"
    nothing = status["trees"]["fedora-updates"]
    assert (nothing["serial"], nothing["digest"], nothing["last_announced_ms"]) == (0, None, None)
    assert status["nodes"]["t2.example.net"]["debian"]["event"] == "completed"
    assert status["reports"] == {"accepted": 1, "refused": {}}
    history = status["history"]
    assert history["bytes"] > 10_000 and history["age_ms"] >= 0 and history["proofs"] == 0
    assert (history["size_bytes"], history["keep_ms"]) == (10**9, 30 * 86_400_000)
    assert status["heartbeat"] > 0


def test_a_service_address_in_use_ends_the_start_with_advice(publisher: Publisher) -> None:
    """A start that fails says why on one line, ends with 1, and leaves no control socket."""
    publisher.config.write_text(publisher.config.read_text().replace(publisher.service, "http://192.0.2.1:9941"))
    with publisher.daemon() as daemon:
        assert daemon.wait() == 1
        assert "does not have that address" in daemon.log_text() and "Traceback" not in daemon.log_text()
    assert not publisher.control.exists()


def test_a_damaged_journal_is_replaced_at_the_start_and_everybody_is_told(
    publisher: Publisher, heard: Listener
) -> None:
    """`publish` refuses it and says what to do; the daemon keeps it aside, and its first heartbeat has a new epoch."""
    assert publisher.announce() == 1
    journal = publisher.state_dir / "journal.sqlite"
    before = (publisher.state_dir / "journal.sqlite.epoch").read_text().strip()
    journal.write_bytes(b"nothing that SQLite knows" * 400)
    done = publisher.publish("debian", "--path", "pool/a.deb")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"start the publisher anew" in done.stderr and b"Traceback" not in done.stderr
    with publisher.daemon() as daemon:
        head = verify(publisher, heard.hear("tree.heartbeat")[1])["trees"]["debian"]
        assert head["serial"] == 0 and epoch_order(head["epoch"]) > epoch_order(before)
        line = daemon.wait_for_line("every subscriber makes a full sync")
        (aside,) = publisher.state_dir.glob("journal.sqlite.damaged-*")
        assert " ERROR " in line and str(aside) in line
        assert publisher.announce() == 1
        assert verify(publisher, heard.hear("tree.updated")[1])["epoch"] == head["epoch"]


def test_a_journal_out_of_a_backup_gets_a_new_epoch_when_it_is_shown_what_it_lacks(
    publisher: Publisher, heard: Listener
) -> None:
    """The header that a subscriber kept is enough: a heartbeat has the new epoch at once, and `status` counts it."""
    backup = publisher.folder / "backup"
    with publisher.daemon() as daemon:
        daemon.wait_for_line("ready")
        heard.hear("tree.heartbeat")
        publisher.announce()
        heard.hear("tree.updated")
        copy_journal(publisher.state_dir / "journal.sqlite", backup)
        publisher.announce()
        shown = heard.hear("tree.updated")[1]
        daemon.terminate()
        backup.replace(publisher.state_dir / "journal.sqlite")
        daemon.start()
        wait_until(publisher.control.exists, what="the daemon to answer again")
        before = verify(publisher, shown)["epoch"]
        assert tree_status(publisher)["serial"] == 1
        request = urllib.request.Request(f"{publisher.service}/v1/headers", data=shown, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 204
        status: Any = publisher.status()
        assert epoch_order(status["epoch"]) > epoch_order(before)
        assert (status["history"]["proofs"], status["trees"]["debian"]["serial"]) == (1, 0)
        head = {"epoch": before}
        while head["epoch"] == before:
            head = verify(publisher, heard.hear("tree.heartbeat")[1])["trees"]["debian"]
        assert head == {"epoch": status["epoch"], "serial": 0, "digest": None}
        assert publisher.announce() == 1
        assert daemon.wait_for_line("is a copy from before")
