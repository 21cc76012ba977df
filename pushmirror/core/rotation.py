"""How a publisher goes over to another key: what it says of that, what is to be believed of it, and until when.

A key is its OpenSSH line without a comment, as it stands in ``certificate``. Trust always begins at the keys that an
operator has pinned; rotations only lead on from those. What is not pinned and not led to counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pushmirror.core.messages import open_fields, read_name
from pushmirror.core.wire import FORMAT, Fields, digest
from pushmirror.errors import MalformedMessage

ROTATED = "key.rotated"

MAX_OVERLAP_MS = 366 * 86_400_000
"""A key that is to be given up for longer than this is not given up."""
MAX_ROTATIONS = 100
"""So many lead on from one key; whoever signs more of them has lost it to somebody."""

_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}")
_FINGERPRINT_LENGTH = 16


@dataclass(frozen=True)
class Rotation:
    """The `publisher` signs with `new` from now on, and with `old` for `overlap_ms` after `at_ms` (its own clock)."""

    publisher: str
    old: str
    new: str
    at_ms: int
    overlap_ms: int

    @property
    def until_ms(self) -> int:
        """When the old key ceases to count at the latest."""
        return self.at_ms + self.overlap_ms


class Judgement(Enum):
    """What a rotation comes to that is signed by its old key."""

    NEW = "new"
    KNOWN = "known"
    """It is recorded already: a repetition, of today or of years ago."""
    CONFLICT = "conflict"
    """The old key has been given up for another one: whoever still has it leads nobody astray any more."""
    CIRCULAR = "circular"
    """The new key is one that was given up."""
    TOO_MANY = "too many"


def format_rotation(rotation: Rotation) -> dict[str, Any]:
    """Return the ``msg`` of a ``key.rotated``."""
    return {
        "format": FORMAT,
        "publisher": rotation.publisher,
        "old_key": rotation.old,
        "new_key": rotation.new,
        "at_ms": rotation.at_ms,
        "overlap_ms": rotation.overlap_ms,
    }


def parse_rotation(msg: Mapping[str, Any]) -> Rotation:
    """Return the rotation in `msg`. Raises MalformedMessage. Whether the old key signed it is still to be seen."""
    fields = open_fields(msg)
    rotation = Rotation(
        publisher=read_name(fields, "publisher"),
        old=_read_key(fields, "old_key"),
        new=_read_key(fields, "new_key"),
        at_ms=fields.integer("at_ms"),
        overlap_ms=fields.integer("overlap_ms"),
    )
    if rotation.overlap_ms > MAX_OVERLAP_MS:
        raise MalformedMessage(f"overlap_ms is above {MAX_OVERLAP_MS}")
    return rotation


def _read_key(fields: Fields, key: str) -> str:
    line = fields.text(key)
    if not _KEY.fullmatch(line):
        raise MalformedMessage(f"{key} is not an ed25519 key in the form of OpenSSH, without a comment")
    return line


def judge_rotation(rotation: Rotation, known: Mapping[str, Rotation], pinned: Iterable[str]) -> Judgement:
    """Judge a rotation whose signature fits against those that are `known` of the publisher, by their old keys.

    How many are too many is counted from the nearest of the `pinned` keys.
    """
    recorded = known.get(rotation.old)
    if recorded is not None:
        return Judgement.KNOWN if recorded.new == rotation.new else Judgement.CONFLICT
    if rotation.new == rotation.old or rotation.new in known:
        return Judgement.CIRCULAR
    ways = [way for first in pinned if (way := _count_between(first, rotation.old, known)) is not None]
    return Judgement.TOO_MANY if ways and min(ways) >= MAX_ROTATIONS else Judgement.NEW


def _count_between(first: str, last: str, known: Mapping[str, Rotation]) -> int | None:
    """Return how many rotations lead from one key to another, None when they do not.

    What others have led there by a longer way does not count: nobody uses up what others need.
    """
    passed: set[str] = set()
    key = first
    while key != last:
        if key not in known or key in passed:
            return None
        passed.add(key)
        key = known[key].new
    return len(passed)


def believed_keys(pinned: Iterable[str], known: Mapping[str, Rotation], retired: Collection[str]) -> tuple[str, ...]:
    """Return the keys that count: those that are `pinned` and those that they were given up for, less the `retired`."""
    found: dict[str, None] = {}
    for first in pinned:
        key: str | None = first
        while key is not None and key not in found:
            found[key] = None
            key = known[key].new if key in known else None
    return tuple(key for key in found if key not in retired)


def end_ms(key: str, known: Mapping[str, Rotation]) -> int:
    """Return when a key that was given up ceases to count: none outlives the one that came after it."""
    left = dict(known)
    rotation = left.pop(key)
    end = rotation.until_ms
    while (following := left.pop(rotation.new, None)) is not None:
        rotation, end = following, min(end, following.until_ms)
    return end


def retired_keys(known: Mapping[str, Rotation], now_ms: int) -> frozenset[str]:
    """Return the keys that have ceased to count at `now_ms`."""
    return frozenset(old for old in known if now_ms >= end_ms(old, known))


def signing_chain(own: str, held: Collection[str], rotations: Iterable[Rotation], now_ms: int) -> tuple[str, ...]:
    """Return with which of the `held` keys a publisher signs now, whose key file has `own`: the oldest that counts
    first, the newest last.

    The file may still have the old one, when its exchange was interrupted; one that nobody led to stands for itself.
    """
    known = {rotation.old: rotation for rotation in rotations}
    newest = own
    while newest in known and known[newest].new in held:
        newest = known.pop(newest).new
    before = {rotation.new: rotation for rotation in rotations}
    chain = [newest]
    while (rotation := before.pop(chain[0], None)) is not None and now_ms < rotation.until_ms and rotation.old in held:
        chain.insert(0, rotation.old)
    return tuple(chain)


def fingerprint(key: str) -> str:
    """Return by which short name of a key a client tells a service that it believes it."""
    return digest(key.encode("ascii", "replace"))[:_FINGERPRINT_LENGTH]
