"""A message as one readable line, for people who follow the bus. No message can make it raise, or break the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pushmirror.core.messages import HEARTBEAT, STATE, UPDATED
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, RELAY_STATE
from pushmirror.core.rotation import ROTATED
from pushmirror.logs import escape
from pushmirror.monitor.quantities import UNKNOWN, format_bytes, format_count, format_duration_ms

Message = Mapping[str, Any]

_MAX_LINE_CHARACTERS = 600
_MAX_VALUE_CHARACTERS = 200
_SHOWN_TREES = 6


def describe(kind: str, msg: object) -> str:
    """Return what a message says. `kind` is the end of its topic (``tree.updated``), `msg` its content, unchecked."""
    if not isinstance(msg, Mapping):
        return _cut(escape(f"{kind}: no content"))
    tell = _TELLERS.get(kind, _tell_other)
    return _cut(escape(tell(kind, msg)))


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_LINE_CHARACTERS else f"{line[: _MAX_LINE_CHARACTERS - 1]}…"


def _text(msg: Message, key: str) -> str:
    value = msg.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return UNKNOWN
    text = str(value)[:_MAX_VALUE_CHARACTERS]
    return text or UNKNOWN


def _counts(msg: Message, key: str) -> bool:
    """Tell whether there is a number other than 0, or something that is no number at all and had better be seen."""
    return msg.get(key, 0) not in (0, None)


# --- what a publisher says


def _tell_update(kind: str, msg: Message) -> str:
    serial = f"{_text(msg, 'tree')}: serial {_text(msg, 'serial')}"
    if msg.get("whole") is True:
        return f"{serial} — anything in the whole tree may have changed"
    parts = [f"{_text(msg, 'changed')} changed"]
    if _counts(msg, "deleted"):
        parts.append(f"{_text(msg, 'deleted')} deleted")
    directories = _directories(msg)
    if directories:
        parts.append(f"{format_count(directories, 'directory', 'directories')} compared")
    return f"{serial} — {', '.join([*parts, format_bytes(msg.get('bytes'))])}"


def _directories(msg: Message) -> int:
    listed = msg.get("list")
    found = [listed.get(key) for key in ("directories", "directories_bytes")] if isinstance(listed, Mapping) else []
    return sum(len(paths) for paths in found if isinstance(paths, list))


def _tell_heartbeat(kind: str, msg: Message) -> str:
    trees = msg.get("trees")
    heads = trees.items() if isinstance(trees, Mapping) else ()
    shown = [
        f"{str(name)[:_MAX_VALUE_CHARACTERS]} {_text(head, 'serial') if isinstance(head, Mapping) else UNKNOWN}"
        for name, head in list(heads)[:_SHOWN_TREES]
    ]
    if len(heads) > _SHOWN_TREES:
        shown.append(f"{len(heads) - _SHOWN_TREES} more")
    return f"{_text(msg, 'publisher')}: heartbeat {_text(msg, 'counter')} — {', '.join(shown) or 'no trees'}"


def _tell_relay(kind: str, msg: Message) -> str:
    trees = msg.get("trees")
    heads = trees.items() if isinstance(trees, Mapping) else ()
    shown = [_tell_relay_head(str(name), head) for name, head in list(heads)[:_SHOWN_TREES]]
    if len(heads) > _SHOWN_TREES:
        shown.append(f"{len(heads) - _SHOWN_TREES} more")
    who = f"{_text(msg, 'relay')}: relay of {_text(msg, 'publisher')}"
    return f"{who}, heartbeat {_text(msg, 'counter')} — {', '.join(shown) or 'no trees'}"


def _tell_relay_head(name: str, head: object) -> str:
    if not isinstance(head, Mapping):
        return f"{name[:_MAX_VALUE_CHARACTERS]} {UNKNOWN}"
    told = f"{name[:_MAX_VALUE_CHARACTERS]} {_text(head, 'serial')}"
    return told if head.get("cleaned") == head.get("serial") else f"{told} (cleaned {_text(head, 'cleaned')})"


def _tell_state(kind: str, msg: Message) -> str:
    kept = f"updates from {_text(msg, 'oldest')} on are kept"
    return f"{_text(msg, 'tree')}: the publisher is at serial {_text(msg, 'serial')}, {kept}"


def _tell_relay_state(kind: str, msg: Message) -> str:
    kept = f"updates from {_text(msg, 'oldest')} on are kept"
    return f"{_text(msg, 'tree')}: the relay {_text(msg, 'relay')} has applied {_text(msg, 'serial')}, {kept}"


def _tell_updating(kind: str, msg: Message) -> str:
    if msg.get("expires_ms") is not None and msg.get("expires_ms") == msg.get("at_ms"):
        return f"{_text(msg, 'tree')}: is no longer being updated"
    return f"{_text(msg, 'tree')}: is being updated, announcements follow"


def _tell_rotation(kind: str, msg: Message) -> str:
    return f"{_text(msg, 'publisher')}: announces a new key, {_text(msg, 'new_key')}"


# --- what a node says


def _who(msg: Message) -> str:
    return f"{_text(msg, 'node')}: {_text(msg, 'tree')}"


def _tell_started(kind: str, msg: Message) -> str:
    scope = "the whole tree" if msg.get("scope") == "whole" else "a list"
    return f"{_who(msg)} started {scope}, applied so far: {_text(msg, 'applied')}"


def _tell_progress(kind: str, msg: Message) -> str:
    totals = []
    if msg.get("files_total") is not None:
        totals.append(f"{_text(msg, 'files_total')} files")
    if msg.get("bytes_total") is not None:
        totals.append(format_bytes(msg.get("bytes_total")))
    return f"{_who(msg)} goes on ({_volume(msg)}{' of ' + ', '.join(totals) if totals else ''})"


def _tell_completed(kind: str, msg: Message) -> str:
    parts = [_volume(msg)]
    if msg.get("lag_ms") is not None:
        parts.insert(0, f"lag {format_duration_ms(msg['lag_ms'])}")
    if _counts(msg, "deleted"):
        parts.append(f"{_text(msg, 'deleted')} deleted")
    if msg.get("cleaned") != msg.get("applied"):
        parts.append(f"cleaned {_text(msg, 'cleaned')}")
    return f"{_who(msg)} applied {_text(msg, 'applied')} ({', '.join(parts)})"


def _volume(msg: Message) -> str:
    return f"{format_count(msg.get('files'), 'file')}, {format_bytes(msg.get('bytes'))}"


def _tell_failed(kind: str, msg: Message) -> str:
    reason = _text(msg, "reason") if msg.get("reason") is not None else "no reason given"
    code = f" (rsync ended with {_text(msg, 'exit_code')})" if _counts(msg, "exit_code") else ""
    return f"{_who(msg)} failed, applied so far: {_text(msg, 'applied')}: {reason}{code}"


def _tell_held(kind: str, msg: Message) -> str:
    return f"{_who(msg)} holds deletions for its operator: {_text(msg, 'reason')}"


def _tell_other(kind: str, msg: Message) -> str:
    names = [f"{key}={_text(msg, key)}" for key in ("publisher", "node", "tree", "serial") if key in msg]
    return f"{kind}: {' '.join(names) or 'a message of a kind that this version does not know'}"


_TELLERS: Mapping[str, Callable[[str, Message], str]] = {
    UPDATED: _tell_update,
    HEARTBEAT: _tell_heartbeat,
    STATE: _tell_state,
    RELAY_HEARTBEAT: _tell_relay,
    RELAY_STATE: _tell_relay_state,
    "tree.updating": _tell_updating,
    ROTATED: _tell_rotation,
    "sync.started": _tell_started,
    "sync.progress": _tell_progress,
    "sync.completed": _tell_completed,
    "sync.failed": _tell_failed,
    "sync.held": _tell_held,
}
