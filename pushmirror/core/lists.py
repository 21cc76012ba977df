"""Change lists on the wire: `ChangeList` to its JSON object, and back. Raises MalformedMessage only.

Names that are UTF-8 travel as text, the others as base64 in a second array (``changed_bytes`` beside ``changed``). Each
array is sorted by its bytes as written and has no duplicates, so that one list has one form and one digest. In UTF-8
that is the order of the characters, in which texts are compared anyway.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, TypeVar

from pushmirror.core.model import ChangeList, Stamp
from pushmirror.core.packed import NotPacked, unpack
from pushmirror.core.paths import MAX_PATH_BYTES, TreePath, format_text, parse_text, trust
from pushmirror.core.wire import MAX_INTEGER, Fields, canonical, digest, parse_object
from pushmirror.errors import MalformedMessage

MAX_LIST_PATHS = 250_000
MAX_LIST_BYTES = 64 * 1024 * 1024
_MAX_TEXT = 2 * MAX_PATH_BYTES
_STAMP_FIELDS = 3
_PATHS = ("changed", "deleted", "directories", "bare", "linked")
_KEYS = frozenset((*_PATHS, *(f"{key}_bytes" for key in _PATHS), "stamps"))
_PATH_OF_STAMP = itemgetter(0)
_Item = TypeVar("_Item")


def format_changes(changes: ChangeList) -> dict[str, Any]:
    """Return the JSON object of a change list; ``list_digest`` is the digest of its canonical bytes."""
    found: dict[str, Any] = {}
    for key in ("changed", "deleted", "directories", "bare"):
        paths: tuple[TreePath, ...] = getattr(changes, key)
        if not paths:  # most of them
            found[key] = []
            continue
        texts = {path: format_text(path) for path in paths}
        found[key] = sorted(text for text in texts.values() if text is not None)
        found[f"{key}_bytes"] = sorted(_encode(path) for path, text in texts.items() if text is None)
    pairs = {pair: (format_text(pair[0]), format_text(pair[1])) for pair in changes.linked}
    found["linked"] = sorted([a, b] for a, b in pairs.values() if a is not None and b is not None)
    found["linked_bytes"] = sorted([_encode(p), _encode(s)] for (p, s), texts_ in pairs.items() if None in texts_)
    stamps = [(format_text(stamp.path), stamp.size, stamp.mtime_ns) for stamp in changes.stamps]
    found["stamps"] = sorted(([text, *rest] for text, *rest in stamps if text is not None), key=_PATH_OF_STAMP)
    return {key: value for key, value in found.items() if value or key in ("changed", "deleted", "directories")}


def list_digest(changes: ChangeList) -> str:
    """Return the digest by which the header of an update vouches for its list."""
    return digest(canonical(format_changes(changes)))


def parse_changes(raw: Mapping[str, Any]) -> ChangeList:
    """Return the change list in `raw`, with every path trusted."""
    count = sum(len(value) for value in raw.values() if isinstance(value, list))
    if count > MAX_LIST_PATHS:
        raise MalformedMessage(f"a list of {count} paths, above the limit of {MAX_LIST_PATHS}")
    return _trust_changes(Fields(raw).array)


def open_changes(body: bytes | bytearray) -> ChangeList:
    """Return the change list in the JSON `body`; of a long one in canonical form only the paths take memory."""
    try:
        arrays, left = unpack(body, _KEYS), iter(range(MAX_LIST_PATHS))
        return _trust_changes(lambda key: _limit(arrays[key], left) if key in arrays else ())
    except NotPacked:
        return parse_changes(parse_object(body, max_bytes=MAX_LIST_BYTES))


def _limit(items: Iterable[object], left: Iterator[int]) -> Iterator[object]:
    for item in items:
        if next(left, None) is None:
            raise MalformedMessage(f"a list of more than {MAX_LIST_PATHS} paths")
        yield item


def _trust_changes(array: Callable[[str], Iterable[object]]) -> ChangeList:
    """Return the change list whose items under each key `array` returns, to be gone through once."""
    changes = ChangeList(
        changed=_parse_paths(array, "changed"),
        deleted=_parse_paths(array, "deleted"),
        directories=_parse_paths(array, "directories"),
        linked=_parse_pairs(array),
        bare=_parse_paths(array, "bare"),
        stamps=_parse_stamps(array),
    )
    # Sets are made of what is rarely long.
    if not set(changes.deleted).isdisjoint(itertools.chain(changes.changed, changes.directories)):
        raise MalformedMessage("a path is both put and deleted")
    if set(changes.bare).difference(changes.changed):
        raise MalformedMessage("bare holds a path that is not in changed")
    if {stamp.path for stamp in changes.stamps}.difference(changes.changed, changes.directories):
        raise MalformedMessage("stamps holds a path that is not put")
    return changes


def _parse_paths(array: Callable[[str], Iterable[object]], key: str) -> tuple[TreePath, ...]:
    paths = [parse_text(text) for text in _ascending(_texts(array(key), key), key)]
    odd_key = f"{key}_bytes"
    for text in _ascending(_texts(array(odd_key), odd_key), odd_key):
        path = trust(_decode(text))
        if format_text(path) is not None:
            raise MalformedMessage(f"{odd_key} holds a path that is UTF-8")
        paths.append(path)
    paths.sort()
    return tuple(paths)


def _ascending(items: Iterable[_Item], key: str, order: Callable[[_Item], Any] | None = None) -> Iterator[_Item]:
    last: Any = None
    for item in items:
        place: Any = item if order is None else order(item)
        if last is not None and last >= place:
            raise MalformedMessage(f"{key} is not sorted by bytes or has duplicates")
        last = place
        yield item


def _texts(items: Iterable[object], key: str) -> Iterator[str]:
    for item in items:
        if not isinstance(item, str) or len(item) > _MAX_TEXT:
            raise MalformedMessage(f"{key} holds something that is not a path")
        yield item


def _parse_pairs(array: Callable[[str], Iterable[object]]) -> tuple[tuple[TreePath, TreePath], ...]:
    pairs = [(parse_text(path), parse_text(sibling)) for path, sibling in _ascending_pairs(array, "linked")]
    for texts in _ascending_pairs(array, "linked_bytes"):
        path, sibling = (trust(_decode(text)) for text in texts)
        if format_text(path) is not None and format_text(sibling) is not None:
            raise MalformedMessage("linked_bytes holds a pair that is UTF-8")
        pairs.append((path, sibling))
    return tuple(sorted(pairs))


def _ascending_pairs(array: Callable[[str], Iterable[object]], key: str) -> Iterator[list[str]]:
    return _ascending(_pairs(array(key), key), key)


def _pairs(items: Iterable[object], key: str) -> Iterator[list[str]]:
    for item in items:
        if not isinstance(item, list) or len(item) != 2:
            raise MalformedMessage(f"{key} holds something that is not a pair")
        yield list(_texts(item, key))


def _parse_stamps(array: Callable[[str], Iterable[object]]) -> tuple[Stamp, ...]:
    rows = _ascending(_stamps(array("stamps")), "stamps", _PATH_OF_STAMP)
    return tuple(sorted(Stamp(parse_text(text), size, mtime_ns) for text, size, mtime_ns in rows))


def _stamps(items: Iterable[object]) -> Iterator[list[Any]]:
    for item in items:
        if not isinstance(item, list) or len(item) != _STAMP_FIELDS or not _is_numbers(item[1:]):
            raise MalformedMessage("stamps holds something that is not a path, a size and a time")
        yield [*_texts(item[:1], "stamps"), *item[1:]]


def _is_numbers(values: list[object]) -> bool:
    return all(type(value) is int and 0 <= value <= MAX_INTEGER for value in values)


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
