"""A line of the history: an update as it was signed, and its change list where that did not travel in it.

A list may be millions of bytes. In the form in which services write a line it is neither copied nor taken apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core.wire import MAX_MESSAGE_BYTES, Fields, canonical, digest, parse_object, parse_object_in
from pushmirror.errors import MalformedMessage

_UPDATE, _LIST, _END = b'{"update":', b',"list":', b"}"
_NO_LIST = b"null"


@dataclass(frozen=True)
class HistoryLine:
    """The envelope of an update, of which nothing is checked yet, and the JSON of its list as it came."""

    update: Mapping[str, Any]
    listed: bytes | bytearray | None


def split_line(line: bytearray) -> HistoryLine:
    """Return what is in `line`, which is used up. Raises MalformedMessage."""
    try:
        text = line[: len(_UPDATE) + MAX_MESSAGE_BYTES].decode("ascii")
        update, end = parse_object_in(text, len(_UPDATE)) if line.startswith(_UPDATE) else ({}, 0)
    except (MalformedMessage, UnicodeDecodeError):  # or another form of the same
        end = 0
    if not end or not line.startswith(_LIST, end) or not line.endswith(_END):
        return _parse_line(line)
    del line[-len(_END) :], line[: end + len(_LIST)]
    return HistoryLine(update, None if line == _NO_LIST else line)


def _parse_line(line: bytearray) -> HistoryLine:
    fields = Fields(parse_object(line, max_bytes=len(line)))
    update = fields.object("update")
    if len(canonical(update)) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"an update of more than {MAX_MESSAGE_BYTES} bytes")
    return HistoryLine(update, canonical(fields.object("list")) if fields.has("list") else None)


def list_body(listed: bytes | bytearray | None, list_digest: str | None) -> bytes | bytearray:
    """Return the canonical JSON of a list for which a header vouches with `list_digest`. Raises MalformedMessage."""
    if listed is None:
        raise MalformedMessage("the list is missing")
    if digest(listed) == list_digest:
        return listed
    wrapped = b'{"list":%s}' % listed
    body = canonical(Fields(parse_object(wrapped, max_bytes=len(wrapped))).object("list"))
    if digest(body) != list_digest:
        raise MalformedMessage("the list is not the one of list_digest")
    return body
