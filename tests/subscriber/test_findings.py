"""What a full sync found that nobody had announced: counted when it can be told, and named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pushmirror.core.model import Head
from pushmirror.core.output import parse_items
from pushmirror.subscriber.findings import Findings
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import TreeRecord
from tests.subscriber.test_ledger import NOW, announce, begin_at
from tests.subscriber.upstream import TREE, paths, put

FOUND = [
    b".d..t...... ./",
    b".d..t...... pool/",
    b".d...p..... dists/",
    b">f.st...... pool/a",
    b".f...p..... pool/b",
    b">f+++++++++ pool/c",
    b"cd+++++++++ new/",
    b".L..t...... link",
]


@pytest.fixture
def synced(ledger: Ledger) -> TreeRecord:
    """A tree of which everything is in place."""
    begin_at(ledger, 3)
    return ledger.tree(TREE)


def test_all_but_the_times_of_directories_counts(synced: TreeRecord, caplog: pytest.LogCaptureFixture) -> None:
    """Files, links, new directories, permissions, and what was surplus; five of them are named."""
    findings = Findings(synced)
    findings.take_run(parse_items(FOUND))
    findings.take_paths(paths("surplus"))
    assert findings.judge(synced) == 7
    (line,) = caplog.messages
    assert "found 7 paths that no announcement had told of: dists, link, new, pool/a, pool/b, ..." in line


def test_nothing_found_is_nothing_said(synced: TreeRecord, caplog: pytest.LogCaptureFixture) -> None:
    """It counts as none, which is the good news."""
    findings = Findings(synced)
    findings.take_run(parse_items(FOUND[:2]))
    assert findings.judge(synced) == 0
    assert caplog.messages == []


def test_what_announcements_may_account_for_is_not_counted(ledger: Ledger, synced: TreeRecord) -> None:
    """A first sync, something pending, something announced meanwhile: nobody can tell."""
    first = replace(synced, last_full_sync_ms=None)
    moved = replace(synced, head=Head("1700000000000-0123456789abcdef", 4, "4" * 64))
    announce(ledger, 4, put("a"), now_ms=NOW)
    pending = ledger.tree(TREE)
    for before, after in ((first, first), (synced, moved), (pending, pending)):
        findings = Findings(before)
        findings.take_run(parse_items(FOUND))
        assert findings.judge(after) is None
