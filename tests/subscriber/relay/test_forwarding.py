"""Which reports a relay passes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.messages import format_report
from pushmirror.core.model import Event, Report
from pushmirror.http.answers import NoContent
from pushmirror.http.questions import Refusal, ReportQuestion
from pushmirror.keys import PrivateKey
from pushmirror.subscriber.relay.answers import RelayAnswers
from pushmirror.subscriber.relay.forwarding import REPORTS_AT_ONCE
from tests.subscriber.relay.node import RelayNode
from tests.subscriber.upstream import NODE, OTHER_TREE, PUBLISHER, TREE, Upstream


def report_of(upstream: Upstream, key: PrivateKey, kind: str = "sync.completed", **replaced: Any) -> bytes:
    """Return a report that `key` has signed."""
    report = Report(Event.COMPLETED, NODE, PUBLISHER, TREE, None, 3, 3, "list")
    return upstream.sealed(kind, {**format_report(report), **replaced}, key)[1]


def take(answers: RelayAnswers, body: bytes) -> int:
    """Return the status that a report is answered with."""
    answer = answers.answer(ReportQuestion(), body)
    if isinstance(answer, Refusal):
        return answer.status
    assert isinstance(answer, NoContent)
    return 204


@pytest.fixture
def answers(node: RelayNode, upstream: Upstream, tmp_path: Path) -> RelayAnswers:
    """A relay that takes the reports of one node."""
    nodes = tmp_path / "below"
    nodes.write_text(f"{upstream.node_key.public.line} {NODE}\n")
    return node.answers(nodes)


@pytest.mark.parametrize(
    ("kind", "replaced", "status"),
    [
        ("sync.completed", {}, 204),
        ("sync.failed", {}, 204),
        ("sync.completed", {"tree": OTHER_TREE}, 400),
        ("sync.completed", {"publisher": "other.example.org"}, 400),
        ("sync.completed", {"node": "other.example.net"}, 403),
        ("sync.completed", {"applied": -7}, 400),
        ("tree.updated", {}, 400),
    ],
)
def test_only_reports_of_listed_nodes_about_relayed_trees_are_passed_on(
    node: RelayNode, upstream: Upstream, answers: RelayAnswers, kind: str, replaced: dict[str, Any], status: int
) -> None:
    """Byte for byte; everything else is refused and goes nowhere."""
    body = report_of(upstream, upstream.node_key, kind, **replaced)
    assert take(answers, body) == status
    assert node.handed_on == ([body] if status == 204 else [])


@pytest.mark.parametrize("body", [b"", b"{}", b"no json", b'{"topic": 1}', b"[" * 100_000])
def test_nonsense_is_refused(answers: RelayAnswers, body: bytes) -> None:
    """With a status and no exception."""
    assert take(answers, body) in (400, 403)


def test_more_reports_than_a_publisher_should_get_are_put_off(
    node: RelayNode, upstream: Upstream, answers: RelayAnswers
) -> None:
    """Their senders may try again later."""
    body = report_of(upstream, upstream.node_key)
    taken = [take(answers, body) for _ in range(REPORTS_AT_ONCE + 1)]
    assert (taken.count(204), taken[-1]) == (REPORTS_AT_ONCE, 503)
    node.time.now_ms += 1000
    assert take(answers, body) == 204
