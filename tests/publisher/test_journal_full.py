"""A full disk: who announces is told, gets no serial, and leaves nothing half-written; afterwards all goes on."""

from __future__ import annotations

import sqlite3
import urllib.request
from pathlib import Path

import pytest

from pushmirror.core.wire import MAX_MESSAGE_BYTES, parse_object
from pushmirror.errors import StateError
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.publisher.daemon import Listener, Publisher
from tests.publisher.journals import announce, many_paths, one_path
from tests.support.small_disk import SmallDisk
from tests.support.waiting import wait_until


def check_chain(journal: Journal) -> list[int]:
    """Return the serials that are there; each names the one before."""
    rows = [*journal.updates_after("debian", 0, 10_000), *journal.unsent(10_000)]
    msgs = [parse_object(row.signed, max_bytes=MAX_MESSAGE_BYTES)["msg"] for row in rows]
    assert [msg["previous_digest"] for msg in msgs] == [None, *(row.digest for row in rows[:-1])]
    return [row.serial for row in rows]


def test_an_announcement_that_does_not_fit_leaves_nothing(journal: Journal) -> None:
    """When the file cannot grow the update, its list and its serial are as if they had never been."""
    announce(journal, one_path(1))
    journal._connection.execute("PRAGMA max_page_count = 60")
    with pytest.raises(StateError, match="make room"):
        announce(journal, many_paths(1))
    assert check_chain(journal) == [1]
    assert announce(journal, one_path(2)) == 2
    journal._connection.execute("PRAGMA max_page_count = 100000")
    assert announce(journal, many_paths(1)) == 3
    assert check_chain(journal) == [1, 2, 3]
    row = journal.unsent(3)[-1]
    assert len(journal.list_body(row.list_digest or "") or b"") == journal.list_bytes(row.list_digest or "") > 200_000


@pytest.mark.slow
def test_publish_on_a_full_disk_fails_and_the_daemon_lives_through_it(tmp_path: Path) -> None:
    """`publish` ends with 1 and a clear message while there is no room; with room again every serial arrives once."""
    publisher = Publisher(tmp_path)
    with SmallDisk(publisher.state_dir, 1_500_000) as disk, publisher.daemon() as daemon:
        publisher.state_dir.chmod(0o700)
        daemon.wait_for_line("ready")
        with Listener(publisher.endpoint) as listener:
            listener.hear("tree.heartbeat")
            assert publisher.announce() == 1
            assert serial_of(listener) == 1
            disk.fill()
            failures = [publisher.publish("debian", "--path", "pool/a.deb") for _ in range(30)]
            printed = [int(done.stdout) for done in failures if done.returncode == 0]
            refused = [done for done in failures if done.returncode != 0]
            assert refused and refused[-1] is failures[-1]
            for done in refused:
                assert (done.returncode, done.stdout) == (1, b"")
                assert b"nothing was announced" in done.stderr and b"Traceback" not in done.stderr
            assert printed == list(range(2, 2 + len(printed)))
            status = urllib.request.urlopen(f"{publisher.service}/v1/trees/debian?nonce=12345678", timeout=10)
            assert status.status == 200
            disk.make_room()
            last = publisher.announce()
            assert last == 2 + len(printed)
            heard = [serial_of(listener)]
            while heard[-1] != last:
                heard.append(serial_of(listener))
            assert heard == list(range(2, last + 1))
            wait_until(lambda: newest_sent(publisher) == last, what="every update to be marked as sent")
        assert daemon.terminate() == 0
        assert "Traceback" not in daemon.log_text()
        journal = Journal(publisher.state_dir / JOURNAL_NAME)
        assert check_chain(journal) == list(range(1, last + 1))
        journal.close()
        database = sqlite3.connect(publisher.state_dir / JOURNAL_NAME)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


def serial_of(listener: Listener) -> int:
    body = listener.hear("tree.updated")[1]
    return int(parse_object(body, max_bytes=MAX_MESSAGE_BYTES)["msg"]["serial"])


def newest_sent(publisher: Publisher) -> int:
    return int(publisher.status()["trees"]["debian"]["sent"])
