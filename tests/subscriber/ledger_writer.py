"""Run as a program by test_ledger_crash.py: writes into a ledger for ever and tells what is committed, a line each."""

from __future__ import annotations

import sys
from pathlib import Path

from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import JobRecord
from tests.subscriber.test_ledger import NOW, announce, begin_at, finish
from tests.subscriber.upstream import IDENTITY, TREE, put

DELETIONS = 20


def tell(word: str, serial: int) -> None:
    print(word, serial, flush=True)


def deletions_of(serial: int) -> list[str]:
    """Return the deletions that come with every fifth update."""
    return [f"{serial:06}/{number:02}" for number in range(DELETIONS)]


def write(ledger: Ledger) -> None:
    """Announce without end; every fifth serial is applied, with deletions that are done one round later."""
    ledger.interrupt_jobs(NOW)
    serial = ledger.tree(TREE).announced
    if serial < 0:
        begin_at(ledger, serial := 0)
    while True:
        serial += 1
        announce(ledger, serial, put(*(f"{serial}/{number}" for number in range(10))))
        tell("announced", serial)
        if serial % 5 == 0:
            job = ledger.begin_job(TREE, "list", serial, NOW)
            ledger.finish_deletions(TREE, [deletion.path for deletion in ledger.deletions(TREE)], (), NOW)
            finish(ledger, serial, deletions_of(serial))
            ledger.end_job(JobRecord(job, TREE, "list", serial, NOW, NOW, "done"))
            tell("applied", serial)


if __name__ == "__main__":
    opened = Ledger(Path(sys.argv[1]))
    opened.open_tree(TREE, IDENTITY)
    write(opened)
