"""The tables of `status` and `history`: everything is there, in eighty columns, whatever the daemon answers."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from pushmirror.monitor.history_table import show_history
from pushmirror.monitor.status_tables import show_status

NOW_S = 1_790_000_100
JOB = {
    "job": 7,
    "scope": "list",
    "serial": 12,
    "outcome": "done",
    "files": 3,
    "bytes": 2048,
    "deleted": 1,
    "duration_ms": 210,
    "lag_ms": 260,
    "started": NOW_S - 7,
    "finished": NOW_S - 7,
    "exit_code": 0,
    "reason": None,
}
SUBSCRIBER: dict[str, Any] = {
    "role": "subscriber",
    "node": "t2.example.net",
    "version": "1.2",
    "upstreams": {
        "mirror.example.org": {"state": "silent", "last_heard_ms": 200_000, "dropped": {"signature": 3, "path": 0}},
        "other.example.org": {"state": "connecting", "last_heard_ms": None, "dropped": {}},
    },
    "trees": {
        "fedora-updates": {
            "state": "idle",
            "announced": 13,
            "applied": 12,
            "cleaned": 11,
            "pending_paths": 40,
            "pending_deletions": 1950,
            "held": {"deletions": 1950, "reason": "above the limit"},
            "incomplete": ["secret"],
            "last_sync": JOB,
            "reason": "the disk is full",
        },
        "debian": {"state": "queued", "announced": -1, "applied": -1, "cleaned": -1, "last_sync": None},
    },
}
RELAYED: dict[str, Any] = {
    "role": "subscriber",
    "trees": {
        "fedora-updates-testing-archive": {
            "source": f"rsync://{'mirror.' * 12}example.org/fedora/",
            "sources": [
                {"url": f"rsync://{'mirror.' * 12}example.org/fedora/", "state": "failing", "reason": "refused " * 20}
            ],
            "relay": {"serving": None, "cleaned": None, "reason": "2 of its paths cannot be read at its upstream " * 3},
        }
    },
}
PUBLISHER: dict[str, Any] = {
    "role": "publisher",
    "name": "mirror.example.org",
    "version": "1.2",
    "endpoint": "tcp://127.0.0.1:9940",
    "service": "http://127.0.0.1:9941",
    "trees": {"debian": {"serial": 14, "sent": 13, "oldest": 2, "last_announced_ms": (NOW_S - 65) * 1000}},
    "nodes": {
        "t2.example.net": {
            "debian": {"event": "completed", "applied": 12, "cleaned": 12, "lag_ms": 260, "received_ms": NOW_S * 1000}
        },
        "t3.example.net": {"debian": {"event": "failed", "applied": 14, "cleaned": 14, "received_ms": NOW_S * 1000}},
    },
    "history": {"bytes": 2_100_000, "age_ms": 187_200_000, "proofs": 0},
    "reports": {"accepted": 2, "refused": {"signature": 5}},
}


def render(shown: RenderableType, width: int = 80) -> str:
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_subscribers_status() -> None:
    """Upstreams, trees, and below them whatever an operator has to know or to do."""
    text = render(show_status(SUBSCRIBER, NOW_S), 160)
    assert ["mirror.example.org", "silent", "3", "min", "20", "s", "ago", "3", "(signature", "3)"] in rows(text)
    assert ["other.example.org", "connecting", "never", "0"] in rows(text)
    assert (
        "fedora-updates  idle           13       12       11  40 + 1950 del  done 7 s ago: list, 3 files, 2.0 kB"
        in text
    )
    assert ["debian", "queued", "-", "-", "-", "0", "none", "yet"] in rows(text)
    assert "fedora-updates: the disk is full" in text
    assert "fedora-updates: 1,950 deletions held: above the limit; look at them with: pushmirror approve" in text
    assert "does not let us read 1 path, the first is secret" in text


def test_a_publishers_status() -> None:
    """Trees with their serials, and what each node has of them."""
    text = render(show_status(PUBLISHER, NOW_S), 120)
    assert ["debian", "14", "13", "2", "1", "min", "5", "s", "ago"] in rows(text)
    assert ["t2.example.net", "debian", "12", "(2", "behind)", "12", "260", "ms", "completed", "0", "s", "ago"] in rows(
        text
    )
    assert ["t3.example.net", "debian", "14", "14", "-", "failed", "0", "s", "ago"] in rows(text)
    assert "refused reports: signature 5" in text
    assert "History: 2.1 MB, its oldest update 2 d 4 h old\n" in text


def test_a_journal_that_was_a_copy_is_no_secret() -> None:
    """How often a publisher had to begin anew because of a backup is shown with its history."""
    answer = PUBLISHER | {"history": {"bytes": 5000, "age_ms": None, "proofs": 2}}
    text = " ".join(render(show_status(answer, NOW_S), 120).split())
    assert "History: 5.0 kB, its oldest update - old; the journal was found to be a copy from before 2 times" in text


def test_a_publisher_without_nodes_says_so() -> None:
    """An empty table would look like a fault."""
    assert "No node has reported yet." in render(show_status(PUBLISHER | {"nodes": {}}, NOW_S))


@pytest.mark.parametrize("answer", [SUBSCRIBER, PUBLISHER, RELAYED])
def test_nothing_is_wider_than_the_terminal(answer: dict[str, Any]) -> None:
    """In eighty columns lines fold and stay whole."""
    assert max(map(len, render(show_status(answer, NOW_S)).splitlines())) <= 80


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"role": "publisher"},
        {"role": "subscriber", "trees": None},
        {"trees": {"t": {}}},
        {"trees": {"t": {"sources": [{}, None], "relay": {}}}},
        {"upstreams": {"u": {"relays": {"r": {}, "s": None}}}},
    ],
)
def test_missing_values_are_shown_as_missing(answer: dict[str, Any]) -> None:
    """A daemon of another version may tell less; the rest is shown."""
    assert render(show_status(answer, NOW_S))


def test_control_characters_of_an_answer_are_escaped() -> None:
    """A reason may hold names of files; they cannot reach the terminal as they are."""
    answer = SUBSCRIBER | {"trees": {"t": {"state": "idle", "reason": "bad\x1b[2J[bold]name"}}}
    assert "bad\\x1b[2J[bold]name" in render(show_status(answer, NOW_S))


def test_a_history() -> None:
    """Jobs with what they did, and the reasons of those that did not go well."""
    failed = JOB | {"job": 8, "outcome": "failed", "reason": "no space left", "deleted": 0, "lag_ms": None}
    old = JOB | {"job": 1, "started": NOW_S - 400_000}
    text = render(show_history("debian", [failed, JOB, old], NOW_S))
    assert max(map(len, text.splitlines())) <= 80
    found = {row[0]: row[2:] for row in rows(text) if row}
    assert found["8"] == ["list", "failed", "12", "3", "2.0", "kB", "210", "ms", "-"]
    assert found["7"] == ["list", "done", "12", "3,", "1", "del", "2.0", "kB", "210", "ms", "260", "ms"]
    assert [row[1].count("-") for row in rows(text) if row and row[0] == "1"] == [2]
    assert "job 8: no space left" in text


def test_a_tree_without_jobs() -> None:
    """Nothing to show is told in words."""
    assert render(show_history("debian", [], NOW_S)).strip() == "debian: no job has run yet"


def test_a_running_job_has_a_bar_and_a_busy_upstream_a_remark() -> None:
    """What is done of what there is to do, and for how long nothing new is started."""
    tree = {
        "state": "running",
        "progress": {"bytes_done": 500_000, "bytes_total": 1_000_000, "files_done": 3, "files_total": 12},
        "upstream_busy_until": 1_000 + 90,
    }
    text = render(show_status({"role": "subscriber", "upstreams": {}, "trees": {"debian": tree}}, 1_000))
    assert "500.0 kB of 1.0 MB" in text and "3 of 12" in text and "━" in text
    assert "its upstream is updating it" in text


SOURCES: dict[str, Any] = {
    "state": "idle",
    "source": "rsync://t2.example.com/debian/",
    "sources": [
        {"url": "rsync://[2001:db8::1]:8730/pub/linux/debian/", "state": "failing", "reason": "connection refused"},
        {"url": "rsync://t2.example.com/debian/", "state": "ready", "reason": "its relay has serial 11 of 12"},
        {"url": "rsync://mirror.example.org/debian/", "state": "ready", "reason": None},
    ],
}


def subscriber(**trees: dict[str, Any]) -> dict[str, Any]:
    return {"role": "subscriber", "upstreams": {}, "trees": trees}


def test_the_sources_of_a_tree_are_listed_with_the_one_in_use_and_what_is_wrong_with_others() -> None:
    """In order of preference, each on a line in a hundred columns."""
    text = render(show_status(subscriber(debian=SOURCES), NOW_S), 100)
    below = text[text.index("Sources") :].splitlines()
    assert [line.split() for line in below[3:6]] == [
        ["debian", "rsync://[2001:db8::1]:8730/pub/linux/debian/", "failing:", "connection", "refused"],
        ["rsync://t2.example.com/debian/", "ready,", "in", "use:", "its", "relay", "has", "serial", "11", "of", "12"],
        ["rsync://mirror.example.org/debian/", "ready"],
    ]
    assert text.count("in use") == 1
    assert "in use" not in render(show_status(subscriber(debian=SOURCES | {"source": None}), NOW_S), 100)


def test_a_tree_with_one_source_is_listed_only_when_something_is_wrong_with_it() -> None:
    """Otherwise the table would repeat the settings."""
    ready, unknown = {"url": "rsync://a/m/", "state": "ready"}, {"url": "rsync://b/m/", "state": "unknown"}
    one = {"state": "idle", "source": "rsync://a/m/", "sources": [ready]}
    assert "Sources" not in render(show_status(subscriber(debian=one), NOW_S))
    text = render(show_status(subscriber(debian=one, fedora={**one, "sources": [unknown]}), NOW_S))
    assert "rsync://b/m/" in text and "rsync://a/m/" not in text


def test_what_is_handed_on_and_what_is_not_has_a_table_of_its_own() -> None:
    """Up to which serial, how clean, and why not; none for a node that is no relay."""
    served = {"state": "idle", "relay": {"serving": 12, "cleaned": 11, "reason": None}}
    filtered = {"state": "idle", "relay": {"serving": None, "cleaned": None, "reason": "include and exclude hide [a]"}}
    private = {"state": "idle", "relay": None}
    text = render(show_status(subscriber(debian=served, fedora=filtered, own=private), NOW_S), 100)
    below = [line.split() for line in text[text.index("Handed on") :].splitlines()]
    assert below[3:5] == [["debian", "12", "11"], ["fedora", "-", "-", "include", "and", "exclude", "hide", "[a]"]]
    assert not any(line[:1] == ["own"] for line in below)
    assert "Handed on" not in render(show_status(subscriber(own=private), NOW_S))


def test_relays_that_are_listened_to_stand_below_their_upstream() -> None:
    """Each with its own state: the upstream is heard as long as one of them is."""
    relay = {"state": "silent", "last_heard_ms": 200_000, "dropped": {"signature": 1}}
    upstream = {"state": "connected", "last_heard_ms": 500, "dropped": {}, "relays": {"r1.example.net": relay}}
    text = render(show_status({"role": "subscriber", "upstreams": {"mirror.example.org": upstream}}, NOW_S))
    assert ["mirror.example.org", "connected", "500", "ms", "ago", "0"] in rows(text)
    assert ["relay", "r1.example.net", "silent", "3", "min", "20", "s", "ago", "1", "(signature", "1)"] in rows(text)


def test_a_detector_that_fails_is_told() -> None:
    """Errors and problems of the last scan stand below the trees of a publisher."""
    detection = {"error": "the tree is empty", "problems": ["secret: Permission denied"]}
    answer = {"role": "publisher", "trees": {"debian": {"serial": 1, "detection": detection}}, "nodes": {}}
    text = render(show_status(answer, 1_000))
    assert "the tree is empty" in text and "secret: Permission denied" in text
