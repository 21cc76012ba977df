"""Reports of nodes: who may speak, about what, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pushmirror.bus.memory import MemoryBus
from pushmirror.core.messages import UPDATED, format_report, report_kind
from pushmirror.core.model import Event, Report
from pushmirror.core.recency import MAX_APART_S
from pushmirror.core.wire import canonical
from pushmirror.errors import KeyFileError
from pushmirror.http.questions import Refusal
from pushmirror.http.serving import MAX_BODY_BYTES
from pushmirror.keys import PrivateKey, PublicKey, generate_key_file, load_private_key, seal
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.reports import Reports
from tests.publisher.conftest import START_MS

REPORT = Report(Event.COMPLETED, "t2.example.net", "mirror.example.org", "debian", "1-00000000", 3, 3, "list", files=7)
MAX_APART_MS = MAX_APART_S * 1000


class Stage:
    """A publisher's reports with one authorized node, and everything that came out on the bus.

    `now_ms` is everybody's clock; the nodes' `counter` goes on with each report.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        self.now_ms = START_MS
        self.counter = 0
        self.nodes_path = folder / "authorized_nodes"
        self.node_key = self.make_key(folder / "t2.example.net")
        self.other_key = self.make_key(folder / "other.example.net")
        self.authorize(self.node_key.public, "t2.example.net")
        bus = MemoryBus(immediate=True)
        self.sent: list[tuple[bytes, bytes]] = []
        bus.receiver([b""], lambda topic, body: self.sent.append((topic, body))).start()
        self.nodes = AuthorizedNodes(self.nodes_path)
        self.reports = Reports(
            nodes=self.nodes,
            identity=identity,
            trees=("debian", "fedora"),
            sender=bus.sender(),
            clock_ms=lambda: self.now_ms,
        )
        self.identity = identity

    def make_key(self, path: Path) -> PrivateKey:
        if not path.exists():
            generate_key_file(path, path.name)
        return load_private_key(path)

    def authorize(self, key: PublicKey, *names: str) -> None:
        self.nodes_path.write_text("".join(f"{key.line} {name}\n" for name in names))

    def seal(
        self,
        report: Report = REPORT,
        *,
        kind: str | None = None,
        key: PrivateKey | None = None,
        at_ms: int | None = None,
    ) -> bytes:
        """Return a report that is made now, or at `at_ms`."""
        kind = kind or report_kind(report.event)
        self.counter += 1
        at_ms = self.now_ms if at_ms is None else at_ms
        signed = self.identity.compose(kind, format_report(report), at_ms=at_ms, counter=self.counter)
        return seal(signed, key or self.node_key)


@pytest.fixture
def stage(tmp_path: Path, identity: Identity) -> Stage:
    return Stage(tmp_path, identity)


def change(body: bytes, **changed: Any) -> bytes:
    return canonical({**json.loads(body), **changed})


@pytest.mark.parametrize("event", list(Event))
def test_a_report_of_an_authorized_node_goes_on_unchanged(stage: Stage, event: Event) -> None:
    """The bytes that were posted are those on the bus, under the report's own topic, however they are laid out."""
    body = json.dumps(json.loads(stage.seal(replace(REPORT, event=event))), indent=1).encode()
    assert stage.reports.take(body) is None
    assert stage.sent == [(f"org.example.prod.pushmirror.sync.{event.value}".encode(), body)]
    assert (stage.reports.accepted, dict(stage.reports.refused)) == (1, {})


def test_the_newest_report_of_each_node_and_tree_is_kept(stage: Stage) -> None:
    """A status can tell what each node said last."""
    for report in (REPORT, replace(REPORT, applied=4), replace(REPORT, tree="fedora")):
        assert stage.reports.take(stage.seal(report)) is None
    (trees,) = stage.reports.last.values()
    assert {tree: last.report.applied for tree, last in trees.items()} == {"debian": 4, "fedora": 3}
    assert trees["debian"].received_ms == START_MS


def test_a_report_that_is_posted_again_is_taken_and_not_repeated(stage: Stage) -> None:
    """A node whose answer got lost, and a stranger who replays, cause no second message."""
    body = stage.seal()
    assert [stage.reports.take(body), stage.reports.take(body)] == [None, None]
    assert len(stage.sent) == 1 and stage.reports.accepted == 1


@pytest.mark.parametrize(
    ("cause", "status", "spoil"),
    [
        ("format", 400, lambda stage: b""),
        ("format", 400, lambda stage: b"\xff\x00"),
        ("format", 400, lambda stage: b"[]"),
        ("format", 400, lambda stage: stage.seal()[:-20]),
        ("format", 400, lambda stage: b'{"a":' * 3000),
        ("format", 400, lambda stage: change(stage.seal(), padding="x" * MAX_BODY_BYTES)),
        ("signature", 403, lambda stage: change(stage.seal(), signature=None)),
        ("signature", 403, lambda stage: change(stage.seal(), crypto="x509")),
        ("format", 400, lambda stage: change(stage.seal(), msg={"format": 1})),
        ("format", 400, lambda stage: stage.seal(replace(REPORT, applied=-2))),
        ("format", 400, lambda stage: stage.seal(kind="sync.nonsense")),
        ("topic", 400, lambda stage: stage.seal(kind=UPDATED)),
        ("topic", 400, lambda stage: stage.seal(kind="sync")),
        ("topic", 400, lambda stage: change(stage.seal(), topic="org.other.prod.pushmirror.sync.completed")),
        ("publisher", 400, lambda stage: stage.seal(replace(REPORT, publisher="other.example.org"))),
        ("tree", 400, lambda stage: stage.seal(replace(REPORT, tree="arch"))),
        ("node", 403, lambda stage: stage.seal(replace(REPORT, node="t3.example.net"))),
        ("signature", 403, lambda stage: stage.seal(key=stage.other_key)),
        ("signature", 403, lambda stage: change(stage.seal(), i=2)),
        ("date", 400, lambda stage: stage.seal(at_ms=START_MS - 2 * MAX_APART_MS)),
        ("date", 400, lambda stage: stage.seal(at_ms=START_MS + 2 * MAX_APART_MS)),
        ("signature", 403, lambda stage: change(stage.seal(key=stage.other_key),
                                                certificate=stage.node_key.public.line)),
    ],
)  # fmt: skip
def test_any_other_report_is_counted_and_dropped(stage: Stage, cause: str, status: int, spoil: Any) -> None:
    """A report that cannot be believed is refused with its cause, and nobody hears of it."""
    refusal = stage.reports.take(spoil(stage))
    assert isinstance(refusal, Refusal) and refusal.status == status and refusal.text
    assert dict(stage.reports.refused) == {cause: 1}
    assert (stage.sent, stage.reports.accepted, stage.reports.last) == ([], 0, {})


def test_one_node_cannot_speak_for_another(stage: Stage, tmp_path: Path) -> None:
    """A key counts for the node beside which the operator has written it, and for no other."""
    lines = [f"{stage.node_key.public.line} t2.example.net", f"{stage.other_key.public.line} other.example.net"]
    stage.nodes_path.write_text("\n".join(lines))
    assert stage.reports.take(stage.seal(replace(REPORT, node="other.example.net"), key=stage.other_key)) is None
    refusal = stage.reports.take(stage.seal(key=stage.other_key))
    assert refusal is not None and refusal.status == 403


def test_the_file_of_nodes_counts_as_it_is_now(stage: Stage) -> None:
    """A node that the operator takes out is refused from then on, and forgotten."""
    assert stage.reports.take(stage.seal()) is None
    stage.nodes_path.write_text(f"{stage.other_key.public.line} other.example.net\n# and nobody else\n")
    refusal = stage.reports.take(stage.seal(replace(REPORT, applied=9)))
    assert refusal is not None and refusal.status == 403
    stage.reports.forget_strangers()
    assert stage.reports.last == {}


def test_a_faulty_file_of_nodes_changes_nothing(stage: Stage) -> None:
    """While the operator is editing, the nodes of before hold; a repaired file counts again."""
    stage.nodes_path.write_text("half a li")
    assert stage.reports.take(stage.seal()) is None
    stage.nodes_path.unlink()
    assert stage.reports.take(stage.seal(replace(REPORT, applied=4))) is None
    stage.nodes_path.write_text("# nobody\n")
    assert stage.reports.take(stage.seal(replace(REPORT, applied=5))) is not None


def test_without_a_file_no_node_counts() -> None:
    """A publisher whose settings name no file of nodes refuses every report."""
    assert AuthorizedNodes(None).read() == {}


def test_a_faulty_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A daemon does not start with a list of nodes that it cannot read."""
    with pytest.raises(KeyFileError):
        AuthorizedNodes(tmp_path / "nowhere")


def test_a_recorded_report_takes_nothing_back(stage: Stage) -> None:
    """However many others came since: a status tells what the node said last, and nobody on the bus hears it again."""
    old = stage.seal(REPORT)
    assert stage.reports.take(old) is None
    for number in range(300):
        stage.now_ms += 100
        tree = ("debian", "fedora")[number % 2]
        assert stage.reports.take(stage.seal(replace(REPORT, tree=tree, applied=4 + number))) is None
    before = stage.reports.last["t2.example.net"]["debian"]
    assert (stage.reports.take(old), stage.reports.accepted) == (None, 301)
    assert stage.reports.last["t2.example.net"]["debian"] == before and before.report.applied == 302
    assert len(stage.sent) == 301


def test_each_tree_and_each_node_has_an_order_of_its_own(stage: Stage) -> None:
    """What is late about one tree is news as long as nothing newer was said of that one; within a second the counter
    decides, which begins anew when the node is started."""
    first, second, of_fedora, last = (stage.seal(replace(REPORT, tree=tree)) for tree in ("debian", "debian", "fedora",
                                                                                         "debian"))  # fmt: skip
    for body in (last, second, of_fedora, first):
        assert stage.reports.take(body) is None
    assert [body for _, body in stage.sent] == [last, of_fedora]
    stage.counter, stage.now_ms = 0, stage.now_ms + 1000
    restarted = stage.seal()
    assert stage.reports.take(restarted) is None
    assert stage.sent[-1][1] == restarted


@pytest.mark.parametrize("away_ms", [-MAX_APART_MS, MAX_APART_MS])
def test_a_report_of_another_time_is_refused(
    stage: Stage, away_ms: int, caplog: pytest.LogCaptureFixture, identity: Identity
) -> None:
    """After a restart nothing is known of the nodes: what is older than a quarter of an hour is not believed then
    either, nor what is to come. The log says which clocks are to be looked at."""
    for at_ms in (stage.now_ms + away_ms, stage.now_ms):
        assert stage.reports.take(stage.seal(at_ms=at_ms)) is None
    stage.reports.take(stage.seal(replace(REPORT, tree="fedora"), at_ms=stage.now_ms + away_ms))
    again = Stage(stage.folder, identity)
    refusal = again.reports.take(stage.seal(at_ms=stage.now_ms + away_ms + (1000 if away_ms > 0 else -1000)))
    assert refusal is not None and refusal.status == 400
    assert (dict(again.reports.refused), again.sent, again.reports.last) == ({"date": 1}, [], {})
    side = "after" if away_ms > 0 else "before"
    assert f"the report of t2.example.net is dated 901 seconds {side} the publisher's clock" in caplog.text


def test_a_node_whose_clock_was_set_back_is_heard_again(stage: Stage) -> None:
    """After twice a quarter of an hour at the latest, and whatever it has dated its reports before."""
    assert stage.reports.take(stage.seal(at_ms=stage.now_ms + MAX_APART_MS)) is None
    away_ms = -MAX_APART_MS
    assert stage.reports.take(stage.seal(at_ms=stage.now_ms + away_ms)) is None
    assert len(stage.sent) == 1
    stage.now_ms += 2 * MAX_APART_MS + 1000
    assert stage.reports.take(stage.seal(at_ms=stage.now_ms + away_ms)) is None
    assert len(stage.sent) == 2


def test_when_all_clocks_were_set_back_reports_are_heard_on(stage: Stage) -> None:
    """What is dated a day ahead of our clock was said before that; nobody waits for the day to pass."""
    day_ms = 86_400_000
    stage.now_ms += day_ms
    assert stage.reports.take(stage.seal()) is None
    stage.now_ms -= day_ms
    body = stage.seal()
    assert stage.reports.take(body) is None
    assert stage.sent[-1][1] == body and len(stage.sent) == 2
