"""Keys of ZeroMQ's encryption (CURVE) as text: Z85, and the one line by which a public key is handed on."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pushmirror.core.messages import NAME

WORD = "curve25519"
"""What the line of a public key begins with."""
KEY_BYTES = 32
TEXT_CHARACTERS = 40
MAX_LINE_CHARACTERS = 1024

# ZeroMQ RFC 32. There is no quote, no backslash and no white space in it.
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}


@dataclass(frozen=True)
class CurveKey:
    """A public key: `raw` is its 32 bytes. The name behind it takes no part in comparisons."""

    raw: bytes
    name: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The key as 40 characters."""
        return encode(self.raw)

    @property
    def line(self) -> str:
        """The key as settings and the list of nodes have it."""
        return f"{WORD} {self.text} {self.name}".rstrip()


def encode(raw: bytes) -> str:
    """Return 32 bytes as Z85: each four as five characters, the highest digit first."""
    numbers = struct.unpack(f">{len(raw) // 4}I", raw)
    return "".join(_ALPHABET[number // 85**place % 85] for number in numbers for place in (4, 3, 2, 1, 0))


def decode(text: str) -> bytes:
    """Return the 32 bytes of a key. Raises ValueError, which never repeats the text, when it is none."""
    if len(text) != TEXT_CHARACTERS or not all(character in _VALUES for character in text):
        raise ValueError(f"a CURVE key is {TEXT_CHARACTERS} characters of Z85: copy the whole line of the .pub file")
    groups = (text[start : start + 5] for start in range(0, TEXT_CHARACTERS, 5))
    numbers = [sum(_VALUES[character] * 85 ** (4 - at) for at, character in enumerate(group)) for group in groups]
    if max(numbers) >= 2**32:
        raise ValueError("this is no CURVE key: five of its characters mean more than four bytes hold")
    return struct.pack(f">{len(numbers)}I", *numbers)


def parse_key(text: str) -> CurveKey:
    """Return the key in `text`: a whole line, or the 40 characters alone. Raises ValueError as `parse_line`."""
    return parse_line(text) if is_line(text) else CurveKey(decode(text))


def is_line(line: str) -> bool:
    """Return whether a line is meant to be that of a CURVE key."""
    return line.split(None, 1)[:1] == [WORD]


def parse_line(line: str) -> CurveKey:
    """Return the key in a line ``curve25519 KEY name``; the name may be absent.

    Raises ValueError, which never repeats the line, for anything else.
    """
    words = line[: MAX_LINE_CHARACTERS + 1].split()
    if not 2 <= len(words) <= 3 or words[0] != WORD:
        raise ValueError(f"a public CURVE key is one line: {WORD}, the key, and a name")
    name = words[2] if len(words) == 3 else ""
    if name and not NAME.fullmatch(name):
        raise ValueError("after the key comes a name: letters, digits, dots, dashes, underscores")
    return CurveKey(decode(words[1]), name)
