"""Changes bytes at random, for runs without a guide: where atheris cannot be had, and in the tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from fuzz.harness import MAX_BYTES

WORDS = (
    b"null", b"true", b"[]", b"{}", b"-1", b"0", b"1.5", b"1e9", b"9223372036854775807", b"9223372036854775808", b'""',
    b"..", b"../", b"/", b"./-", b".~tmp~", b".~pushmirror~", b"\\u0000", b"\\ud800", b"\0", b"\n", b"\r\n", b"\xff",
    b'"list":', b'"changed":', b'"deleted":', b'"directories":', b'"changed_bytes":', b'"linked":', b'"bare":',
    b'"stamps":', b'"serial":', b'"previous":', b'"epoch":', b'"whole":', b'"trees":', b'"format":', b'"tree":',
    b'"publisher":', b'"signature":', b'"certificate":', b'"crypto":', b"ed25519", b'"paths":', b'"release":',
    b">f+++++++++ ", b"*deleting   ", b" -> ", b" => ", b"\\#012", b"//", b'" (in m)', b"- &x ", b"*x", b"!!int ",
    b"\t", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"%2e",
    b"?", b"&", b"=",
)  # fmt: skip
"""What the formats are made of; also the dictionary of a guided run."""


def mutate(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Return one of `corpus` with a few changes."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 5)):
        chance.choice(_CHANGES)(chance, data, corpus)
    return bytes(data[:MAX_BYTES])


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randint(0, len(data))


def _set_byte(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _remove(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chance, data)
    del data[start : start + chance.choice((1, 1, 4, 16, 256))]


def _insert_word(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chance, data)
    data[start:start] = chance.choice(WORDS)


def _replace_by_word(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start, word = _place(chance, data), chance.choice(WORDS)
    data[start : start + len(word)] = word


def _repeat(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start = _place(chance, data)
    data[start:start] = data[start : start + chance.choice((1, 8, 64))] * chance.choice((1, 2, 30))


def _splice(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = chance.choice(corpus)
    data[_place(chance, data) :] = other[chance.randint(0, len(other)) :]


_CHANGES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _set_byte, _remove, _insert_word, _replace_by_word, _repeat, _splice
)  # fmt: skip
