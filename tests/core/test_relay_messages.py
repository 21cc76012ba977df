"""What relays say of themselves, there and back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.messages import MAX_TREES
from pushmirror.core.model import Head, RelayHead, RelayHeartbeat, RelayState
from pushmirror.core.relay_messages import (
    format_relay_heartbeat,
    format_relay_state,
    parse_relay_heartbeat,
    parse_relay_state,
)
from pushmirror.core.wire import MAX_MESSAGE_BYTES, MAX_TOPIC_LENGTH, attach, compose
from pushmirror.errors import MalformedMessage

EPOCH = "1790000000000-0123456789abcdef"
HEAD = RelayHead(EPOCH, Head(EPOCH, 12, "a" * 64), 11)
HEARTBEAT = RelayHeartbeat("t1.example.org", "r.example.net", 7, 1_790_000_000_000, 30_000, {"debian": HEAD})
STATE = RelayState("t1.example.org", "r.example.net", "debian", HEAD, "b" * 64, 3, "nonce-of-mine")

serials = st.integers(0, 2**63 - 1)


@st.composite
def relay_heads(draw: st.DrawFn) -> RelayHead:
    """Heads that a relay may tell."""
    serial = draw(serials)
    digest = draw(st.text("0123456789abcdef", min_size=64, max_size=64)) if serial else None
    return RelayHead(EPOCH, Head(EPOCH, serial, digest), draw(st.integers(-1, serial)))


@given(st.dictionaries(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z"), relay_heads(), max_size=5))
def test_a_heartbeat_comes_back_as_it_was(trees: dict[str, RelayHead]) -> None:
    """Whatever a relay has of however many trees."""
    heartbeat = replace(HEARTBEAT, trees=trees)
    assert parse_relay_heartbeat(format_relay_heartbeat(heartbeat)) == heartbeat


@given(relay_heads(), serials)
def test_a_state_comes_back_as_it_was(head: RelayHead, oldest: int) -> None:
    """With the digest of what is cleaned, where there is such an update."""
    state = replace(STATE, head=head, oldest=oldest, cleaned_digest="c" * 64 if head.cleaned > 0 else None)
    assert parse_relay_state(format_relay_state(state)) == state


def test_a_state_brings_what_the_publisher_signed_as_it_travelled() -> None:
    """Byte for byte, and only a message."""
    signed = compose("t", {"tree": "debian"}, msg_id="1", at_ms=1000, counter=1, username="t1.example.org")
    state = replace(STATE, testimony=attach(signed, bytes(64), "ssh-ed25519 AAAA"))
    told = format_relay_state(state)
    assert parse_relay_state(told) == state
    for other in ("text", {"tree": "debian"}, 5):
        with pytest.raises(MalformedMessage):
            parse_relay_state({**told, "testimony": other})


def test_a_heartbeat_has_room_for_as_many_trees_as_settings_take() -> None:
    """Also with the longest names and far serials it is a message that everybody takes."""
    far = RelayHead(EPOCH, Head(EPOCH, 10**12, "a" * 64), 10**12)
    heartbeat = replace(HEARTBEAT, trees={f"{number:0128}": far for number in range(MAX_TREES)})
    signed = compose(
        "t" * MAX_TOPIC_LENGTH, format_relay_heartbeat(heartbeat),
        msg_id="2026-" + "0" * 36, at_ms=1_790_000_000_000, counter=1, username="r.example.net",
    )  # fmt: skip
    assert len(attach(signed, bytes(64), "ssh-ed25519 " + "A" * 68)) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"relay": "no name"},
        {"relay": None},
        {"interval_ms": 999},
        {"interval_ms": 3_600_001},
        {"interval_ms": None},
        {"trees": []},
        {"trees": {"no name": {}}},
        {"trees": {"debian": {"epoch": EPOCH, "serial": 3, "digest": "a" * 64, "cleaned": 4}}},
        {"trees": {"debian": {"epoch": EPOCH, "serial": 3, "digest": "a" * 64, "cleaned": -2}}},
        {"trees": {"debian": {"epoch": EPOCH, "serial": 3, "digest": "a" * 64}}},
        {"trees": {"debian": {"epoch": EPOCH, "serial": 0, "digest": "a" * 64, "cleaned": 0}}},
        {"trees": {f"t{number}": {} for number in range(MAX_TREES + 1)}},
    ],
)
def test_a_heartbeat_with_something_wrong_is_malformed(wrong: dict[str, Any]) -> None:
    """Nothing but MalformedMessage is raised."""
    with pytest.raises(MalformedMessage):
        parse_relay_heartbeat({**format_relay_heartbeat(HEARTBEAT), **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"tree": ""},
        {"relay": 3},
        {"oldest": -1},
        {"nonce": "n" * 65},
        {"cleaned": 13},
        {"cleaned_digest": "no digest"},
        {"cleaned": 0},
    ],
)
def test_a_state_with_something_wrong_is_malformed(wrong: dict[str, Any]) -> None:
    """A digest of what is cleaned belongs to an update, and below serial 1 there is none."""
    with pytest.raises(MalformedMessage):
        parse_relay_state({**format_relay_state(STATE), **wrong})
