"""CURVE keys as text: one form for each key, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from pushmirror.core.curve import CurveKey, decode, encode, is_line, parse_key, parse_line

RFC_PUBLIC = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
KEYS = st.binary(min_size=32, max_size=32)


@given(KEYS)
def test_text_is_that_of_zeromq_itself_and_comes_back(raw: bytes) -> None:
    """What is written is what ZeroMQ writes, and is read as the same bytes."""
    assert encode(raw) == z85.encode(raw).decode()
    assert decode(encode(raw)) == raw


@given(KEYS, st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True))
def test_a_line_comes_back(raw: bytes, name: str) -> None:
    """A public key with the name behind it is read as it was written; the name takes no part in comparisons."""
    key = CurveKey(raw, name)
    assert (parse_line(key.line), parse_line(key.line).name) == (key, name)
    assert parse_key(key.line) == parse_key(key.text) == CurveKey(raw)


@given(st.text(max_size=60))
def test_anything_else_is_refused_and_never_repeated(text: str) -> None:
    """Whatever is no key is a ValueError, in which the text does not stand."""
    for parse in (decode, parse_line, parse_key):
        try:
            parse(text)
        except ValueError as error:
            assert len(text) < 8 or text not in str(error)


@pytest.mark.parametrize(
    "text",
    ["", "curve25519", RFC_PUBLIC[:-1], RFC_PUBLIC + "0", RFC_PUBLIC.replace("r", '"', 1), "#" * 40, "é" * 40],
)
def test_what_is_cut_short_or_beyond_is_no_key(text: str) -> None:
    """A character too few or too many, one that is not of the alphabet, and more than 32 bits in five are told."""
    with pytest.raises(ValueError, match="CURVE key"):
        parse_key(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"ssh-ed25519 {RFC_PUBLIC} node", "is one line"),
        (f"curve25519 {RFC_PUBLIC} node two", "is one line"),
        (f"curve25519 {RFC_PUBLIC} no/de", "comes a name"),
    ],
)
def test_lines_of_another_form_are_told(line: str, told: str) -> None:
    """Another kind of key, too much behind it and a bad name are faults with advice."""
    with pytest.raises(ValueError, match=told):
        parse_line(line)


def test_lines_are_told_apart_by_their_first_word() -> None:
    """So both kinds of keys can stand in one file."""
    assert is_line(f"  curve25519 {RFC_PUBLIC}") and not is_line("curve25519x y") and not is_line("")
