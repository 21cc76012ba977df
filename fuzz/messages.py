"""The content of a message that the pinned key has signed: it is bounded, and its paths stay where they belong."""

from __future__ import annotations

from collections.abc import Iterable

from fuzz.meaning import examples, read_as_every_kind
from fuzz.parties import CHANGES
from pushmirror.core.lists import format_changes
from pushmirror.core.wire import MAX_MESSAGE_BYTES, canonical, digest, parse_object
from pushmirror.errors import MalformedMessage


def check(data: bytes) -> None:
    """Read `data` as the content of every kind of message.

    The digest of a list is put right before, so that not every change of a list ends at that check.
    """
    try:
        msg = parse_object(data, max_bytes=MAX_MESSAGE_BYTES)
        if isinstance(msg.get("list"), dict):
            msg = {**msg, "list_digest": digest(canonical(msg["list"]))}
    except MalformedMessage:
        return
    except RecursionError:  # such a list has no canonical form, and no envelope with it can be opened
        return
    read_as_every_kind(msg)


def seeds() -> Iterable[bytes]:
    """Yield the content of each kind, and announcements with paths that must not pass."""
    announcement = next(msg for _, msg in examples())
    for _, msg in examples():
        yield canonical(msg)
    for path in ("..", "../a", "/a", "a//b", ".~tmp~/a", "./-x", "-x", "a\0b", "a" * 256, "./../a", ".", ""):
        yield canonical({**announcement, "list": {**format_changes(CHANGES), "changed": [path]}})
        yield canonical({**announcement, "list": {"changed": [], "deleted": [path], "directories": []}})
    yield canonical({**announcement, "list": {"stamps": [["a", 1, 2]], "changed": ["a"]}})
