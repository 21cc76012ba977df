"""Change lists on the wire: `ChangeList` to its JSON object, and back. Raises MalformedMessage only.

Names that are UTF-8 travel as text, the others as base64 in a second array (``changed_bytes`` beside ``changed``). Each
array is sorted by its bytes as written and has no duplicates, so that one list has one form and one digest.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.paths import MAX_PATH_BYTES, TreePath, format_text, parse_text, trust
from pushmirror.core.wire import MAX_INTEGER, Fields, canonical, digest
from pushmirror.errors import MalformedMessage

MAX_LIST_PATHS = 250_000
MAX_LIST_BYTES = 64 * 1024 * 1024
_MAX_TEXT = 2 * MAX_PATH_BYTES
_STAMP_FIELDS = 3


def format_changes(changes: ChangeList) -> dict[str, Any]:
    """Return the JSON object of a change list; ``list_digest`` is the digest of its canonical bytes."""
    found: dict[str, Any] = {}
    for key in ("changed", "deleted", "directories"):
        paths: tuple[TreePath, ...] = getattr(changes, key)
        texts = {path: format_text(path) for path in paths}
        found[key] = sorted((text for text in texts.values() if text is not None), key=_as_bytes)
        found[f"{key}_bytes"] = sorted(_encode(path) for path, text in texts.items() if text is None)
    pairs = {pair: (format_text(pair[0]), format_text(pair[1])) for pair in changes.linked}
    found["linked"] = sorted([a, b] for a, b in pairs.values() if a is not None and b is not None)
    found["linked_bytes"] = sorted([_encode(p), _encode(s)] for (p, s), texts_ in pairs.items() if None in texts_)
    stamps = [(format_text(stamp.path), stamp.size, stamp.mtime_ns) for stamp in changes.stamps]
    found["stamps"] = sorted(([text, *rest] for text, *rest in stamps if text is not None), key=_stamp_order)
    return {key: value for key, value in found.items() if value or key in ("changed", "deleted", "directories")}


def list_digest(changes: ChangeList) -> str:
    """Return the digest by which the header of an update vouches for its list."""
    return digest(canonical(format_changes(changes)))


def parse_changes(raw: Mapping[str, Any]) -> ChangeList:
    """Return the change list in `raw`, with every path trusted."""
    count = sum(len(value) for value in raw.values() if isinstance(value, list))
    if count > MAX_LIST_PATHS:
        raise MalformedMessage(f"a list of {count} paths, above the limit of {MAX_LIST_PATHS}")
    fields = Fields(raw)
    changes = ChangeList(
        changed=_parse_paths(fields, "changed"),
        deleted=_parse_paths(fields, "deleted"),
        directories=_parse_paths(fields, "directories"),
        linked=_parse_pairs(fields),
        stamps=_parse_stamps(fields),
    )
    put = {*changes.changed, *changes.directories}
    if not put.isdisjoint(changes.deleted):
        raise MalformedMessage("a path is both put and deleted")
    if not put.issuperset(stamp.path for stamp in changes.stamps):
        raise MalformedMessage("stamps holds a path that is not put")
    return changes


def _parse_paths(fields: Fields, key: str) -> tuple[TreePath, ...]:
    texts = _ascending(fields, key, _as_bytes)
    odd = [trust(_decode(item)) for item in _ascending(fields, f"{key}_bytes", _as_bytes)]
    if any(format_text(path) is not None for path in odd):
        raise MalformedMessage(f"{key}_bytes holds a path that is UTF-8")
    return tuple(sorted([*map(parse_text, texts), *odd]))


def _ascending(fields: Fields, key: str, order: Callable[[str], bytes]) -> list[str]:
    items = _texts(fields.array(key), key)
    if any(earlier >= later for earlier, later in pairwise(map(order, items))):
        raise MalformedMessage(f"{key} is not sorted by bytes or has duplicates")
    return items


def _texts(items: Iterable[object], key: str) -> list[str]:
    found = [item for item in items if isinstance(item, str) and len(item) <= _MAX_TEXT]
    if len(found) != len(list(items)):
        raise MalformedMessage(f"{key} holds something that is not a path")
    return found


def _parse_pairs(fields: Fields) -> tuple[tuple[TreePath, TreePath], ...]:
    pairs = [(parse_text(path), parse_text(sibling)) for path, sibling in _ascending_pairs(fields, "linked")]
    for texts in _ascending_pairs(fields, "linked_bytes"):
        path, sibling = (trust(_decode(text)) for text in texts)
        if format_text(path) is not None and format_text(sibling) is not None:
            raise MalformedMessage("linked_bytes holds a pair that is UTF-8")
        pairs.append((path, sibling))
    return tuple(sorted(pairs))


def _ascending_pairs(fields: Fields, key: str) -> list[list[str]]:
    pairs = [_texts(item, key) for item in fields.array(key) if isinstance(item, list) and len(item) == 2]
    if len(pairs) != len(fields.array(key)):
        raise MalformedMessage(f"{key} holds something that is not a pair")
    if any(earlier >= later for earlier, later in pairwise([*map(_as_bytes, pair)] for pair in pairs)):
        raise MalformedMessage(f"{key} is not sorted by bytes or has duplicates")
    return pairs


def _parse_stamps(fields: Fields) -> tuple[Stamp, ...]:
    rows = fields.array("stamps")
    if not all(isinstance(row, list) and len(row) == _STAMP_FIELDS and _is_numbers(row[1:]) for row in rows):
        raise MalformedMessage("stamps holds something that is not a path, a size and a time")
    texts = _texts([row[0] for row in rows], "stamps")
    if any(earlier >= later for earlier, later in pairwise(map(_as_bytes, texts))):
        raise MalformedMessage("stamps is not sorted by bytes or has duplicates")
    return tuple(sorted(Stamp(parse_text(text), row[1], row[2]) for text, row in zip(texts, rows, strict=True)))


def _is_numbers(values: list[object]) -> bool:
    return all(type(value) is int and 0 <= value <= MAX_INTEGER for value in values)


def _stamp_order(row: list[Any]) -> bytes:
    return _as_bytes(row[0])


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encode(path: bytes) -> str:
    return base64.b64encode(path).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        path = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage("a path is not base64") from error
    if _encode(path) != text:  # spare bits would give one path several forms
        raise MalformedMessage("a path is not in the one base64 form that it has")
    return path
