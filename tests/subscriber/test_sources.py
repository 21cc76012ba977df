"""What is remembered of the sources of a tree, and what its jobs do with it; a script stands in for rsync."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Head, RelayHead
from pushmirror.core.schedule import Work
from pushmirror.core.sources import Choice, MarkerVerdict
from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.records import NEVER, TreeRecord
from pushmirror.subscriber.relay.owed import OwedNotes
from pushmirror.subscriber.sources import TreeSources, wanted_by
from tests.subscriber.test_dispatcher import EPOCH, Fleet, OpenRunner
from tests.subscriber.upstream import PUBLISHER, Time, put
from tests.support.reactor import Spin

A, B, C = (f"rsync://{name}.example.org/debian/" for name in "abc")
RELAY = {"url": B, "relay": "b"}
MARKED = {"url": C, "marker": "project/trace/t1"}
SECOND = 1000
REFUSED = Judgement(Outcome.RETRY, "refused", of_source=True)
BUSY = Judgement(Outcome.BUSY, "no room", of_source=True)


def make_record(folder: Path) -> TreeRecord:
    """Return the record of a tree of which nothing is known yet."""
    ledger = Ledger(folder / "ledger")
    ledger.open_tree("debian", "identity")
    record = ledger.tree("debian")
    ledger.close()
    return record


class Known:
    """The sources of one tree, its record, and time and relay in the hands of the test."""

    def __init__(self, folder: Path, *sources: Any, **settings: Any) -> None:
        tree = {"upstream": PUBLISHER, "path": str(folder), "sources": list(sources), **settings}
        self.time = Time()
        self.relay: RelayHead | None = None
        parts = make_parts("debian", SubscriberTree.model_validate(tree), folder)
        self.sources = TreeSources(parts, lambda tree, relay: self.relay, self.time, lambda: 0.5)
        self.record = replace(
            make_record(folder), head=Head(EPOCH, 12, "a" * 64), applied=10, last_full_sync_ms=self.time(),
            pending_updates=2, pending_since_ms=self.time(),
        )  # fmt: skip

    def choose(self, work: Work = Work.LIST) -> Choice | None:
        return self.sources.choose(wanted_by(work, self.record), ())

    def hear_relay(self, applied: int) -> None:
        self.relay = RelayHead(EPOCH, Head(EPOCH, applied, None), applied)

    def states(self) -> list[str]:
        return [source["state"] for source in self.sources.show(self.record)["sources"]]


def test_a_source_that_fails_rests_longer_each_time_and_a_success_ends_that(tmp_path: Path) -> None:
    """Five seconds, ten, twenty; after a success five again. Meanwhile the next one is chosen."""
    known = Known(tmp_path, A, B)
    for seconds in (5, 10, 20):
        known.sources.fail(0, REFUSED)
        assert (known.choose(), known.states()) == (Choice(1, 12), ["failing", "ready"])
        known.time.now_ms += seconds * SECOND - 1
        assert known.choose() == Choice(1, 12)
        known.time.now_ms += 1
        assert (known.choose(), known.states()) == (Choice(0, 12), ["ready", "ready"])
    known.sources.succeed(0)
    known.sources.fail(0, REFUSED)
    known.time.now_ms += 5 * SECOND
    assert known.choose() == Choice(0, 12)


def test_a_source_without_room_rests_no_longer_for_that(tmp_path: Path) -> None:
    """It is asked again after about ten seconds, however often."""
    known = Known(tmp_path, A, B)
    for _ in range(5):
        known.sources.fail(0, BUSY)
        assert known.choose() == Choice(1, 12)
        known.time.now_ms += 10 * SECOND
        assert known.choose() == Choice(0, 12)


def test_a_clock_that_is_set_back_prolongs_no_rest(tmp_path: Path) -> None:
    """What was read from a clock of tomorrow says nothing."""
    known = Known(tmp_path, A, MARKED)
    known.sources.fail(0, REFUSED)
    known.sources.note_verdict(1, wanted_by(Work.LIST, known.record), MarkerVerdict.SAME)
    known.time.now_ms -= 86_400 * SECOND
    assert known.choose() == Choice(0, 12)
    assert known.states() == ["ready", "unknown"]


def test_what_a_marker_has_shown_holds_for_its_serial_and_for_half_a_minute(tmp_path: Path) -> None:
    """The next update needs another look, and so does one whose time is over."""
    known = Known(tmp_path, MARKED, A)
    assert known.choose() == Choice(0, 12, look=True)
    known.sources.note_verdict(0, wanted_by(Work.LIST, known.record), MarkerVerdict.SAME)
    assert known.choose() == Choice(0, 12)
    record = known.record
    known.record = replace(record, head=Head(EPOCH, 13, "b" * 64))
    assert known.choose() == Choice(0, 13, look=True)
    known.record = record
    known.time.now_ms += 30 * SECOND
    assert known.choose() == Choice(0, 12, look=True)
    known.sources.note_verdict(0, wanted_by(Work.LIST, record), MarkerVerdict.OTHER)
    assert known.choose() == Choice(1, 12)
    assert known.choose(Work.CLEAN) == Choice(1, 10)


def test_a_source_that_failed_has_to_show_its_marker_again(tmp_path: Path) -> None:
    """Content that is missing there proves that the marker said too much."""
    known = Known(tmp_path, MARKED, A)
    known.sources.note_verdict(0, wanted_by(Work.LIST, known.record), MarkerVerdict.SAME)
    known.sources.fail(0, REFUSED)
    known.time.now_ms += 5 * SECOND
    assert known.choose() == Choice(0, 12, look=True)


@pytest.mark.parametrize(
    ("applied", "blocked", "chosen"),
    [
        (None, {Work.WHOLE, Work.LIST, Work.CLEAN}, None),
        (9, {Work.WHOLE, Work.LIST, Work.CLEAN}, None),
        (10, {Work.LIST}, None),
        (11, set(), Choice(0, 11)),
        (12, set(), Choice(0, 12)),
    ],
)
def test_a_relay_holds_back_what_it_cannot_give(
    tmp_path: Path, applied: int | None, blocked: set[Work], chosen: Choice | None
) -> None:
    """Applied here is 10 of 12: a list job wants 11 at least, a full sync and deletions nothing older than 10."""
    known = Known(tmp_path, RELAY)
    if applied is not None:
        known.hear_relay(applied)
    assert set(known.sources.blocked(known.record)) == blocked
    assert known.choose() == chosen
    assert (known.sources.why_blocked(known.record) is None) == (chosen is not None)


def test_a_whole_tree_that_is_pending_wants_all_of_it(tmp_path: Path) -> None:
    """A full sync from a source that is behind would not be of what was announced."""
    known = Known(tmp_path, RELAY)
    known.hear_relay(11)
    known.record = replace(known.record, whole_pending=True)
    assert known.choose(Work.WHOLE) is None
    assert known.sources.why_blocked(known.record) == "no source will do: source 1: its relay has serial 11 of 12"


def test_secrets_go_where_they_are_meant_to(tmp_path: Path) -> None:
    """The password of the tree is for the origin; any other source gets the one that is written beside it."""
    known = Known(tmp_path, A, RELAY, {**MARKED, "password_file": "/c"}, password_file="/origin")
    parts = known.sources.parts
    files = [parts.options(source, exact_times=False).password_file for source in parts.sources]
    assert files == ["/origin", None, "/c"]


def test_status_names_the_source_in_use(tmp_path: Path) -> None:
    """None before the first job; then the one that was read last, beside the state of each."""
    known = Known(tmp_path, A, RELAY)
    assert known.sources.show(known.record)["source"] is None
    known.sources.use(0)
    assert known.sources.show(known.record) == {
        "source": A,
        "sources": [
            {"url": A, "state": "ready", "reason": None},
            {"url": B, "state": "unknown", "reason": "its relay has not been heard"},
        ],
    }


# --- jobs


@pytest.fixture
def fleet(reactor: Any, spin: Spin, tmp_path: Path) -> Iterator[Fleet]:
    """One tree with an origin and a relay as its sources, in this order, whose first sync is done."""
    fleet = Fleet(reactor, spin, tmp_path, "debian", source=None, sources=[A, RELAY], missing_wait="1h")
    fleet.run_until_idle()
    yield fleet
    fleet.close()


def follow(fleet: Fleet, heads: dict[str, RelayHead]) -> None:
    """Go on with a dispatcher that hears relays."""
    runs, environment = fleet.folder / "runs-of-relays", {"PATH": "/bin"}
    runner = OpenRunner(fleet.reactor, str(fleet.folder / "rsync"), runs, environment)
    fleet.dispatcher = Dispatcher(
        fleet.reactor, fleet.parts, fleet.ledger, runner, 4, fleet.time, lambda: 0.5,
        lambda event, record, progress: fleet.events.append((event, record)), lambda tree: False,
        relay_head=lambda tree, relay: heads.get(relay),
    )  # fmt: skip


def urls(fleet: Fleet) -> list[str]:
    """Return which source each rsync run read."""
    return [next(url for url in (A, B) if url in line) for line in fleet.runs("debian")]


DOWN = f"case \"$*\" in *{A}*) echo 'rsync: [Receiver] connection refused' >&2; exit 10;; esac\n"


def test_a_job_that_fails_at_one_source_is_done_from_another(fleet: Fleet) -> None:
    """It is one job with one end; what was missing at the first source is no failure of the tree."""
    follow(fleet, {"b": RelayHead(EPOCH, Head(EPOCH, 5, None), 5)})
    before = len(urls(fleet))
    fleet.do("debian", DOWN + "echo '>f+++++++++ x'")
    fleet.announce("debian", 1, put("x"))
    fleet.run_until_idle()
    assert urls(fleet)[before:] == [A, B]
    assert fleet.outcomes("debian") == [("whole", "done"), ("list", "done")]
    assert (fleet.record("debian").applied, fleet.record("debian").failures) == (1, 0)
    fleet.do("debian", f"case \"$*\" in *{A}*) exit 0;; esac; echo '>f+++++++++ y'")
    fleet.announce("debian", 2, put("y"))
    fleet.run_until_idle(after_ms=6 * SECOND)
    assert urls(fleet)[before:] == [A, B, A, B]
    assert fleet.record("debian").missing_since_ms is None


def test_what_is_missing_at_every_source_waits_as_with_one(fleet: Fleet) -> None:
    """The clock of `missing_wait` starts when nobody has it."""
    follow(fleet, {"b": RelayHead(EPOCH, Head(EPOCH, 5, None), 5)})
    fleet.announce("debian", 1, put("x"))
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert (record.applied, record.missing_since_ms, record.failures) == (0, fleet.time(), 0)
    missing = "1 announced paths are missing upstream, the first is x"
    assert record.reason == f"no source will do: source 1: {missing}; source 2: {missing}"
    assert fleet.outcomes("debian")[-1] == ("list", "waiting")


def test_an_empty_source_is_believed_only_when_nobody_else_can_be_asked(fleet: Fleet) -> None:
    """Also for a mirror that is empty itself: a disk that is not mounted is more common than a tree without content."""
    follow(fleet, {"b": RelayHead(EPOCH, Head(EPOCH, 5, None), 5)})
    (fleet.folder / "debian" / "file").unlink()
    fleet.ledger.set_entries("debian", 0)
    fleet.ledger.want_whole("debian", fleet.time())
    before = len(urls(fleet))
    fleet.do("debian", f"case \"$*\" in *{A}*) echo 'Number of files: 1'; exit 0;; esac")
    fleet.run_until_idle()
    assert set(urls(fleet)[before:]) == {A, B}
    assert fleet.outcomes("debian")[-1] == ("whole", "done")
    sources = fleet.dispatcher.show_sources(fleet.record("debian"))
    assert sources["source"] == B
    assert "empty at the upstream" in sources["sources"][0]["reason"]


def test_the_disk_of_the_mirror_is_not_its_sources_fault(fleet: Fleet) -> None:
    """Where another source cannot help none is tried."""
    follow(fleet, {"b": RelayHead(EPOCH, Head(EPOCH, 5, None), 5)})
    before = len(urls(fleet))
    fleet.do("debian", "echo 'rsync: write failed: No space left on device (28)' >&2; exit 11")
    fleet.announce("debian", 1, put("x"))
    fleet.run_until_idle()
    assert urls(fleet)[before:] == [A]
    assert fleet.dispatcher.show_sources(fleet.record("debian"))["sources"][0]["state"] == "ready"


def test_a_job_takes_from_a_relay_what_there_is_and_the_rest_later(fleet: Fleet) -> None:
    """The relay is always a little behind: nothing starts without it, and what it has is not waited for."""
    heads: dict[str, RelayHead] = {}
    follow(fleet, heads)
    fleet.do("debian", DOWN + "echo '>f+++++++++ x'; echo '>f+++++++++ y'; echo '>f+++++++++ z'")
    before = len(fleet.outcomes("debian"))
    for serial, name in enumerate("xyz", start=1):
        fleet.announce("debian", serial, put(name))
    fleet.run_until_idle()
    assert fleet.record("debian").applied == 0
    heads["b"] = RelayHead(EPOCH, Head(EPOCH, 2, f"{2:064x}"), 2)
    fleet.run_until_idle(after_ms=10 * SECOND)
    assert (fleet.record("debian").applied, fleet.record("debian").pending_updates) == (2, 1)
    heads["b"] = RelayHead(EPOCH, Head(EPOCH, 3, f"{3:064x}"), 3)
    fleet.run_until_idle(after_ms=60 * SECOND)
    assert (fleet.record("debian").applied, fleet.record("debian").pending_updates) == (3, 0)
    serials = [job.serial for job in reversed(fleet.ledger.jobs("debian", 10))]
    assert serials[before:] == [3, 2, 3, 3], "nothing, the first part, nothing more, the rest"


def test_while_every_source_is_behind_no_job_begins(fleet: Fleet) -> None:
    """It would only fail, and be reported. As soon as a source has come so far the job starts."""
    heads: dict[str, RelayHead] = {}
    tree = {"upstream": PUBLISHER, "path": str(fleet.folder / "debian"), "sources": [RELAY], "coalesce": "0s"}
    fleet.parts = {"debian": make_parts("debian", SubscriberTree.model_validate(tree), fleet.folder)}
    follow(fleet, heads)
    fleet.do("debian", "echo '>f+++++++++ x'")
    fleet.announce("debian", 1, put("x"))
    before = fleet.outcomes("debian")
    fleet.run_until_idle(after_ms=3600 * SECOND)
    assert (fleet.outcomes("debian"), fleet.state("debian")) == (before, "waiting")
    reason = fleet.dispatcher.why_no_source(fleet.record("debian"))
    assert reason == "no source will do: source 1: its relay has not been heard"
    heads["b"] = RelayHead(EPOCH, Head(EPOCH, 1, f"{1:064x}"), 1)
    fleet.run_until_idle()
    assert fleet.outcomes("debian") == [*before, ("list", "done")]
    assert (fleet.record("debian").applied, fleet.dispatcher.why_no_source(fleet.record("debian"))) == (1, None)


def test_a_relay_that_is_never_clean_does_not_have_the_tree_walked_over_and_over(
    reactor: Any, spin: Spin, tmp_path: Path
) -> None:
    """Its operator keeps what is to be deleted, perhaps; what it could not tell is asked of a relay that can."""
    other = {"url": "rsync://d.example.org/debian/", "relay": "d"}
    fleet = Fleet(reactor, spin, tmp_path, "debian", source=None, sources=[RELAY, other])
    head = Head(EPOCH, 5, f"{5:064x}")
    heads = {"b": RelayHead(EPOCH, head, 1), "d": RelayHead(EPOCH, head, 5)}
    follow(fleet, heads)
    fleet.do("debian", "echo '.f          file'")
    fleet.ledger.start_over("debian", head, 0, fleet.time(), same_history=False)
    fleet.run_until_idle()
    assert (fleet.record("debian").applied, fleet.record("debian").cleaned) == (5, 1)
    owed = OwedNotes(["debian"], fleet.ledger, fleet.time, lambda tree: None)
    for _ in range(30):
        fleet.time.now_ms += 60 * SECOND
        for name, relay_head in heads.items():
            owed.take_heads(name, {"debian": relay_head})
        fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done")] * 2
    assert fleet.record("debian").cleaned == 5
    fleet.close()


def test_a_clean_relay_that_cannot_be_read_does_not_have_the_others_walked_over_and_over(
    reactor: Any, spin: Spin, tmp_path: Path
) -> None:
    """Its heartbeats go on while its rsync daemon is down: what it alone could tell is asked ever more seldom."""
    other = {"url": "rsync://d.example.org/debian/", "relay": "d"}
    fleet = Fleet(reactor, spin, tmp_path, "debian", source=None, sources=[RELAY, other], max_age="30d")
    head = Head(EPOCH, 5, f"{5:064x}")
    heads = {"b": RelayHead(EPOCH, head, 1), "d": RelayHead(EPOCH, head, 5)}
    follow(fleet, heads)
    fleet.do("debian", "case \"$*\" in *d.example.org*) exit 10;; esac; echo '.f          file'")
    fleet.ledger.start_over("debian", head, 0, fleet.time(), same_history=False)
    fleet.run_until_idle()
    owed = OwedNotes(["debian"], fleet.ledger, fleet.time, lambda tree: None)
    for _ in range(12):
        fleet.time.now_ms += 3600 * SECOND
        for name, relay_head in heads.items():
            owed.take_heads(name, {"debian": relay_head})
        fleet.run_until_idle()
    assert fleet.outcomes("debian") == [("whole", "done")] * 7
    assert fleet.record("debian").cleaned == 1
    fleet.behave("debian")
    fleet.time.now_ms += 24 * 3600 * SECOND
    owed.take_heads("d", {"debian": heads["d"]})
    fleet.run_until_idle()
    assert fleet.record("debian").cleaned == 5
    fleet.close()


def test_what_a_marked_mirror_still_has_is_surplus_all_the_same(reactor: Any, spin: Spin, tmp_path: Path) -> None:
    """A full sync from one that has yet to delete asks the origin what is surplus: a pending deletion is not
    forgotten, and what was brought in vain goes again."""
    fleet = Fleet(reactor, spin, tmp_path, "debian", source=None, sources=[MARKED, A], delete_grace="10m")
    marker = "*--list-only*) echo '-rw-r--r--              5 2026/01/01 00:00:00 project/trace/t1'"
    surplus = f"*--ignore-existing*{A}*) echo '*deleting   old'"
    fleet.do("debian", f'case "$*" in {marker};; {surplus};; esac')
    (fleet.folder / "debian" / "old").write_text("what the marked mirror has as well")
    fleet.ledger.start_over("debian", Head(EPOCH, 5, None), 0, fleet.time(), same_history=False)
    fleet.run_until_idle()
    record = fleet.record("debian")
    assert (record.applied, record.cleaned) == (5, NEVER)
    assert [deletion.path for deletion in fleet.ledger.deletions("debian")] == [b"old"]
    assert [line for line in fleet.runs("debian") if C in line and "--list-only" not in line], "it was read from there"
    fleet.close()
