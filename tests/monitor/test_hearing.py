"""Who has said it, and is that proven? And which of it somebody wants to see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.messages import HEARTBEAT, UPDATED
from pushmirror.core.model import ChangeList
from pushmirror.core.relay_messages import RELAY_HEARTBEAT
from pushmirror.core.wire import canonical
from pushmirror.keys import PrivateKey
from pushmirror.monitor.follow import Arrival
from pushmirror.monitor.hearing import Heard, Trust, Voice, hear
from pushmirror.monitor.lines import format_json, format_line
from pushmirror.monitor.selection import Selection
from tests.monitor.examples import (
    NODE,
    PUBLISHER,
    TREE,
    every_message,
    heartbeat_msg,
    make_key,
    report_msg,
    sign,
    topic_of,
    update_msg,
)

COMPLETED = "sync.completed"


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return make_key(tmp_path, PUBLISHER)


@pytest.fixture
def node_key(tmp_path: Path) -> PrivateKey:
    return make_key(tmp_path, NODE)


@pytest.fixture
def voice(key: PrivateKey, node_key: PrivateKey) -> Voice:
    return Voice(PUBLISHER, topic_of(""), (key.public,), {NODE: node_key.public})


def test_a_relay_is_verified_by_its_own_key_and_by_no_other(key: PrivateKey, tmp_path: Path) -> None:
    """What it says of itself is not proven by the publisher's key."""
    relay_key = make_key(tmp_path, "r.example.net")
    head = {"epoch": "1790000000000-0123456789abcdef", "serial": 0, "digest": None, "cleaned": 0}
    msg = {
        "format": 1, "publisher": PUBLISHER, "relay": "r.example.net", "counter": 1, "at_ms": 1, "interval_ms": 1000,
        "trees": {TREE: head},
    }  # fmt: skip
    voice = Voice(PUBLISHER, topic_of(""), (key.public,), {}, {"r.example.net": (relay_key.public,)})
    found = [hear(topic_of(RELAY_HEARTBEAT).encode(), sign(k, RELAY_HEARTBEAT, msg), [voice]) for k in (relay_key, key)]
    assert [(h.trust, h.signer) for h in found] == [(Trust.VERIFIED, "r.example.net"), (Trust.UNVERIFIED, None)]
    faulty = sign(relay_key, RELAY_HEARTBEAT, {**msg, "trees": 3})
    assert hear(topic_of(RELAY_HEARTBEAT).encode(), faulty, [voice]).trust is Trust.MALFORMED


def test_every_kind_is_verified(key: PrivateKey, node_key: PrivateKey, voice: Voice) -> None:
    """A publisher's messages and a node's reports are verified, each against its own key."""
    heard = [hear(topic_of(kind).encode(), body, [voice]) for kind, body in every_message(key, node_key)]
    assert [(h.trust, h.signer, h.fault) for h in heard] == [
        (Trust.VERIFIED, PUBLISHER, None),
        (Trust.VERIFIED, PUBLISHER, None),
        (Trust.VERIFIED, NODE, None),
    ]


def strange_messages(key: PrivateKey, node_key: PrivateKey) -> dict[str, tuple[str, bytes, Trust, str]]:
    """Messages by what is strange about them: the topic's frame, the body, how it is judged, and for which cause."""
    updated, completed = topic_of(UPDATED), topic_of(COMPLETED)
    good = sign(key, UPDATED, update_msg())
    forged = json.loads(good) | {"msg": update_msg(serial=13)}
    unsigned = {name: value for name, value in forged.items() if name not in ("signature", "certificate")}
    other = topic_of(UPDATED).replace("prod", "dev")
    escaping = update_msg() | {"list": {"changed": ["../x"], "deleted": [], "directories": []}}
    return {
        "not JSON": (updated, b"\xff{", Trust.MALFORMED, "format"),
        "cut short": (updated, good[:-5], Trust.MALFORMED, "format"),
        "too large": (updated, b"{" + b" " * 200_000 + b"}", Trust.MALFORMED, "format"),
        "not signed": (updated, canonical(unsigned), Trust.UNVERIFIED, "signature"),
        "forged": (updated, canonical(forged), Trust.UNVERIFIED, "signature"),
        "signed by a node": (updated, sign(node_key, UPDATED, update_msg()), Trust.UNVERIFIED, "signature"),
        "a report signed by the publisher": (
            completed,
            sign(key, COMPLETED, report_msg()),
            Trust.UNVERIFIED,
            "signature",
        ),
        "a report of a stranger": (
            completed,
            sign(node_key, COMPLETED, report_msg(node="x")),
            Trust.UNVERIFIED,
            "signature",
        ),
        "another publisher": (
            updated,
            sign(key, UPDATED, update_msg() | {"publisher": "other"}),
            Trust.UNVERIFIED,
            "signature",
        ),
        "another environment": (
            other,
            sign(key, UPDATED, update_msg(), topic_text=other),
            Trust.UNVERIFIED,
            "signature",
        ),
        "another topic in its frame": (topic_of(HEARTBEAT), good, Trust.MALFORMED, "topic"),
        "not our topic": (
            "org.example.x",
            sign(key, UPDATED, {}, topic_text="org.example.x"),
            Trust.MALFORMED,
            "topic",
        ),
        "a path that escapes": (updated, sign(key, UPDATED, escaping), Trust.MALFORMED, "path"),
    }


def test_what_is_strange_is_not_verified(key: PrivateKey, node_key: PrivateKey, voice: Voice) -> None:
    """Whatever is not signed as it must be, or is not what the protocol says, is marked with its cause."""
    for name, (topic, body, trust, cause) in strange_messages(key, node_key).items():
        heard = hear(topic.encode(), body, [voice])
        assert (heard.trust, heard.cause, heard.signer) == (trust, cause, None), name
        assert heard.fault, name


def test_a_key_for_one_tree_proves_nothing_about_others(key: PrivateKey, tmp_path: Path) -> None:
    """Neither does the publisher's about a tree with keys of its own, but for heartbeats, which are a sign of life."""
    own = make_key(tmp_path, "own")
    voice = Voice(PUBLISHER, topic_of(""), (key.public,), tree_keys={"other": (own.public,)})

    def trust(signer: PrivateKey, kind: str, msg: dict[str, Any]) -> Trust:
        return hear(topic_of(kind).encode(), sign(signer, kind, msg), [voice]).trust

    about = {"other": {**update_msg(), "tree": "other"}, TREE: update_msg()}
    assert trust(own, UPDATED, about["other"]) is trust(key, UPDATED, about[TREE]) is Trust.VERIFIED
    assert trust(own, UPDATED, about[TREE]) is trust(key, UPDATED, about["other"]) is Trust.UNVERIFIED
    beat = heartbeat_msg()
    assert trust(key, HEARTBEAT, beat) is Trust.VERIFIED
    assert trust(own, HEARTBEAT, beat) is Trust.UNVERIFIED
    assert trust(own, HEARTBEAT, {**beat, "trees": {"other": next(iter(beat["trees"].values()))}}) is Trust.VERIFIED


def test_without_keys_nothing_is_verified(key: PrivateKey) -> None:
    """A good message is shown as unverified when no key is known."""
    heard = hear(topic_of(UPDATED).encode(), sign(key, UPDATED, update_msg()), [])
    assert (heard.trust, heard.fault) == (Trust.UNVERIFIED, "no keys are known")


@given(topic=st.binary(max_size=40), body=st.binary(max_size=200))
def test_garbage_raises_nothing(topic: bytes, body: bytes) -> None:
    """Any two frames become a line for people and one for machines."""
    arrival = Arrival(1_790_000_000_123, hear(topic, body, []))
    assert "\n" not in format_line(arrival)
    assert json.loads(format_json(arrival))["verified"] is False


def test_lines_tell_the_trust(key: PrivateKey, voice: Voice) -> None:
    """A verified message has no mark; another one has a question mark, and says why."""
    body = sign(key, UPDATED, update_msg())
    good = format_line(Arrival(0, hear(topic_of(UPDATED).encode(), body, [voice])))
    bad = format_line(Arrival(0, hear(topic_of(UPDATED).encode(), body, [])))
    assert good[23:] == "   fedora-updates: serial 12 — 2 changed, 1 deleted, 2.1 MB"
    assert bad[23:] == f" ? {good[26:]} [unverified: no keys are known]"


def test_json_lines_hold_the_message_as_it_was_sent(key: PrivateKey, voice: Voice) -> None:
    """The envelope in a JSON line is the one that travelled, and the line is canonical JSON."""
    body = sign(key, UPDATED, update_msg())
    line = format_json(Arrival(5, hear(topic_of(UPDATED).encode(), body, [voice])))
    told = json.loads(line)
    assert canonical(told["envelope"]) == body
    assert canonical(told).decode() == line
    assert (told["kind"], told["verified"], told["signer"], told["received_ms"]) == (UPDATED, True, PUBLISHER, 5)


SELECTIONS = [
    (Selection(), [UPDATED, COMPLETED]),
    (Selection(heartbeats=True), [UPDATED, HEARTBEAT, COMPLETED]),
    (Selection(topic="tree"), [UPDATED]),
    (Selection(topic="tree", heartbeats=True), [UPDATED, HEARTBEAT]),
    (Selection(topic="heartbeat"), [HEARTBEAT]),
    (Selection(topic=HEARTBEAT), [HEARTBEAT]),
    (Selection(topic="sync"), [COMPLETED]),
    (Selection(topic="completed"), [COMPLETED]),
    (Selection(topic="org.example.prod"), [UPDATED, COMPLETED]),
    (Selection(topic="org.example.dev"), []),
    (Selection(tree=TREE, heartbeats=True), [UPDATED, HEARTBEAT, COMPLETED]),
    (Selection(tree="other", heartbeats=True), []),
    (Selection(tree="debian", heartbeats=True), [HEARTBEAT]),
    (Selection(node=NODE), [COMPLETED]),
    (Selection(node="other"), []),
]


@pytest.mark.parametrize(("selection", "kinds"), SELECTIONS)
def test_selections(selection: Selection, kinds: list[str]) -> None:
    """Topics, trees and nodes select; heartbeats come only when they are asked for."""
    contents = {UPDATED: update_msg(), HEARTBEAT: heartbeat_msg(), COMPLETED: report_msg()}
    heard = [Heard(topic_of(kind), kind, {"msg": msg}, Trust.VERIFIED) for kind, msg in contents.items()]
    assert [h.kind for h in heard if selection.takes(h)] == kinds


def test_messages_of_other_programs_are_never_selected() -> None:
    """A bus may be shared; what is not under one of our topics is left out."""
    assert not Selection().takes(Heard("org.fedora.prod.git.push", None, {}, Trust.MALFORMED))


def test_an_empty_change_list_is_still_verified(key: PrivateKey, voice: Voice) -> None:
    """An update that only moves the serial is as good as any."""
    body = sign(key, UPDATED, update_msg(changes=ChangeList()))
    assert hear(topic_of(UPDATED).encode(), body, [voice]).trust is Trust.VERIFIED
