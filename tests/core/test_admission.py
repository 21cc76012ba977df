"""Requests that are signed: what the headers say, which nonce is good, and what a signature covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.admission import (
    NONCE_SECONDS,
    Authorization,
    compose_request,
    format_authorization,
    format_challenge,
    is_fresh,
    make_nonce,
    parse_authorization,
    parse_challenge,
)

SECRET = bytes(32)
NOW_S = 1_000


def test_headers_come_back() -> None:
    """What one side writes the other reads."""
    nonce = make_nonce(SECRET, NOW_S)
    given_header = Authorization("t2.example.net", nonce, bytes(64))
    assert parse_authorization(format_authorization(given_header)) == given_header
    assert parse_challenge(format_challenge(nonce)) == nonce


@given(st.text(max_size=300))
def test_other_headers_say_nothing(text: str) -> None:
    """Whatever else stands there is no error and no authorization."""
    assert parse_authorization(text) is None
    assert parse_challenge(text) is None


@pytest.mark.parametrize(
    "text",
    ["Basic dXNlcjpwYXNz", 'Pushmirror node="a/b"', 'Pushmirror nonce="' + "a" * 129 + '"', "Pushmirror " * 200],
)
def test_near_misses_say_nothing(text: str) -> None:
    """A bad name, a nonce that is too long and a header without an end are not taken."""
    assert parse_authorization(text) is None
    assert parse_challenge(text) is None


@pytest.mark.parametrize(
    ("later_s", "good"), [(0, True), (NONCE_SECONDS - 1, True), (NONCE_SECONDS, False), (-1, False)]
)
def test_a_nonce_is_good_for_ten_minutes(later_s: int, good: bool) -> None:
    """Not before it was made, and not after its time."""
    assert is_fresh(make_nonce(SECRET, NOW_S), SECRET, NOW_S + later_s) is good


def test_nobody_else_can_make_a_nonce_or_a_younger_one_of_an_old_one() -> None:
    """Another secret, and another time before the same seal, are not taken."""
    nonce = make_nonce(SECRET, NOW_S)
    assert not is_fresh(nonce, b"\x01" * 32, NOW_S)
    assert not is_fresh(f"{NOW_S + 500:x}-{nonce.partition('-')[2]}", SECRET, NOW_S + 500)


def test_a_signature_covers_all_of_a_request_and_fits_no_message() -> None:
    """Another service, node, nonce, method, target or body is another request; none begins as messages do."""
    first = ("mirror.example.org", "t2.example.net", "1-0", b"GET", b"/v1/trees/a?nonce=12345678", b"")
    others = ("relay.example.org", "t3.example.net", "2-0", b"POST", b"/v1/trees/b?nonce=12345678", b"x")
    texts = {compose_request(*first)}
    for at, other in enumerate(others):
        texts.add(compose_request(*first[:at], other, *first[at + 1 :]))  # type: ignore[arg-type]  # each in its place
    assert len(texts) == 7
    assert not any(text.startswith(b"{") for text in texts)
