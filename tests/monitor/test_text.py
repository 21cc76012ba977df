"""Messages as lines: what they say, and that no message can break them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.model import ChangeList, Event
from pushmirror.core.paths import TreePath
from pushmirror.monitor.text import describe
from tests.monitor.examples import heartbeat_msg, report_msg, update_msg

LINES = [
    ("tree.updated", update_msg(), "fedora-updates: serial 12 — 2 changed, 1 deleted, 2.1 MB"),
    (
        "tree.updated",
        update_msg(changes=None),
        "fedora-updates: serial 12 — anything in the whole tree may have changed",
    ),
    (
        "tree.updated",
        update_msg(changes=ChangeList(directories=(TreePath(b"\xff"), TreePath(b"a")))),
        "fedora-updates: serial 12 — 0 changed, 2 directories compared, 2.1 MB",
    ),
    ("tree.heartbeat", heartbeat_msg(), "mirror.example.org: heartbeat 17 — fedora-updates 12, debian 12"),
    (
        "relay.heartbeat",
        {
            "publisher": "mirror.example.org",
            "relay": "r.example.net",
            "counter": 3,
            "trees": {"debian": {"serial": 12, "cleaned": 12}, "fedora": {"serial": 7, "cleaned": 5}, "odd": 1},
        },
        "r.example.net: relay of mirror.example.org, heartbeat 3 — debian 12, fedora 7 (cleaned 5), odd -",
    ),
    (
        "relay.state",
        {"relay": "r.example.net", "tree": "debian", "serial": 12, "oldest": 3},
        "debian: the relay r.example.net has applied 12, updates from 3 on are kept",
    ),
    ("sync.completed", report_msg(), "t2.example.net: fedora-updates applied 12 (lag 260 ms, 3 files, 2.0 kB)"),
    (
        "sync.completed",
        report_msg(cleaned=11, deleted=7, files=1, lag_ms=None),
        "t2.example.net: fedora-updates applied 12 (1 file, 2.0 kB, 7 deleted, cleaned 11)",
    ),
    (
        "sync.started",
        report_msg(Event.STARTED, applied=11),
        "t2.example.net: fedora-updates started a list, applied so far: 11",
    ),
    (
        "sync.started",
        report_msg(Event.STARTED, applied=11, scope="whole"),
        "t2.example.net: fedora-updates started the whole tree, applied so far: 11",
    ),
    ("sync.progress", report_msg(Event.PROGRESS), "t2.example.net: fedora-updates goes on (3 files, 2.0 kB)"),
    (
        "sync.failed",
        report_msg(Event.FAILED, applied=11, exit_code=23, reason="no space left"),
        "t2.example.net: fedora-updates failed, applied so far: 11: no space left (rsync ended with 23)",
    ),
    (
        "sync.held",
        report_msg(Event.HELD, reason="too many"),
        "t2.example.net: fedora-updates holds deletions for its operator: too many",
    ),
    ("tree.updating", {"tree": "debian"}, "debian: is being updated, announcements follow"),
    ("tree.updating", {"tree": "debian", "at_ms": 5, "expires_ms": 5}, "debian: is no longer being updated"),
    ("key.rotated", {"publisher": "p", "new_key": "ssh-ed25519 AAAA"}, "p: announces a new key, ssh-ed25519 AAAA"),
    ("moon.phase", {"tree": "debian", "serial": 3}, "moon.phase: tree=debian serial=3"),
]


@pytest.mark.parametrize(("kind", "msg", "line"), LINES)
def test_a_message_is_one_line(kind: str, msg: dict[str, Any], line: str) -> None:
    """Each kind of message has its own words."""
    assert describe(kind, msg) == line


def test_control_characters_are_escaped() -> None:
    """Nothing in a name or a reason can end the line, clear the screen or turn the text round."""
    line = describe("sync.failed", report_msg(Event.FAILED) | {"reason": "a\nb\x1b[2J\u202e"})
    assert "a\\nb\\x1b[2J\\u202e" in line
    assert line.isprintable()


def test_a_long_value_is_cut() -> None:
    """A reason of any length makes no endless line."""
    assert len(describe("sync.failed", report_msg(Event.FAILED) | {"reason": "x" * 10_000})) < 700


def test_many_trees_are_summed_up() -> None:
    """A heartbeat of many trees names some of them and counts the others."""
    trees = {f"tree{number}": {"serial": number} for number in range(100)}
    assert describe("tree.heartbeat", {"publisher": "p", "counter": 1, "trees": trees}).endswith("tree5 5, 94 more")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
known_keys = sorted({key for _, msg, _ in LINES for key in msg})


@given(
    kind=st.sampled_from(sorted({kind for kind, _, _ in LINES})) | st.text(max_size=20),
    msg=st.dictionaries(st.sampled_from(known_keys), json_values, max_size=10) | json_values,
)
def test_nothing_makes_it_raise(kind: str, msg: Any) -> None:
    """Whatever JSON a stranger sends, it becomes one printable line of bounded length."""
    line = describe(kind, msg)
    assert "\n" not in line
    assert not any(ord(character) < 32 for character in line)
    assert len(line) <= 600
