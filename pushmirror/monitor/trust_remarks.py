"""What ``status`` remarks on whom to believe: keys that were exchanged, jumps that are held. Reads leniently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pushmirror.logs import escape
from pushmirror.monitor.quantities import format_duration_ms

Answer = Mapping[str, Any]


def remark_on_trust(answer: Answer, now_s: int) -> Iterator[str]:
    """Yield the remarks on the status of a subscriber; `now_s` is the time, in seconds since the epoch."""
    for name, upstream in _groups(answer.get("upstreams")):
        yield from _remark_on_keys(name, upstream.get("keys"), now_s)
    for name, tree in _groups(answer.get("trees")):
        leap = tree.get("leap")
        if isinstance(leap, Mapping):
            advice = f"follow it with: pushmirror approve {escape(name)} --leap"
            yield f"{escape(name)}: a jump is held: {escape(str(leap.get('reason')))}; {advice}"


def remark_on_signing(answer: Answer, now_s: int) -> Iterator[str]:
    """Yield the remarks on the keys of a publisher."""
    keys = answer.get("keys")
    if not isinstance(keys, Mapping):
        return
    for before in _items(keys.get("before")):
        yield f"the key {escape(str(before.get('key')))} was exchanged, and counts {_left(before.get('until'), now_s)}"
    left_over = keys.get("left_over")
    if isinstance(left_over, list) and left_over:
        yield f"keys that count no more and can be removed: {', '.join(escape(str(path)) for path in left_over)}"


def _remark_on_keys(name: str, keys: object, now_s: int) -> Iterator[str]:
    if not isinstance(keys, Mapping):
        return
    for rotation in _items(keys.get("rotations")):
        new, left = escape(str(rotation.get("new"))), _left(rotation.get("old_until"), now_s)
        followed = "which is followed" if rotation.get("followed") else "which is not followed here"
        yield f"{escape(name)}: its key was exchanged for {new}, {followed}; the old one counts {left}"
    conflicts = keys.get("conflicts")
    if isinstance(conflicts, int) and conflicts:
        yield f"{escape(name)}: {conflicts} times somebody else tried to exchange its key; see the log"


def _left(until: object, now_s: int) -> str:
    if not isinstance(until, int) or until <= now_s:
        return "no more"
    return f"for {format_duration_ms((until - now_s) * 1000)} more"


def _groups(value: object) -> Iterable[tuple[str, Answer]]:
    if not isinstance(value, Mapping):
        return ()
    return [(name, group) for name, group in value.items() if isinstance(group, Mapping)]


def _items(value: object) -> Iterable[Answer]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
