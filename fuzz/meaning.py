"""Every kind of message: examples of each, and what has to hold of whatever is read out of one."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from fuzz.parties import CHANGES, EPOCH, HEAD, NODE, NOW_MS, PINNED, PUBLISHER, RELAY, STRANGER, TREE
from pushmirror.core.command import RunOptions, build_command
from pushmirror.core.lists import list_digest
from pushmirror.core.messages import (
    HEARTBEAT,
    STATE,
    UPDATED,
    UPDATING,
    format_heartbeat,
    format_report,
    format_state,
    format_update,
    format_updating,
    parse_heartbeat,
    parse_report,
    parse_state,
    parse_update,
    parse_updating,
    report_kind,
)
from pushmirror.core.model import (
    ChangeList,
    Event,
    Heartbeat,
    RelayHead,
    RelayHeartbeat,
    RelayState,
    Report,
    Stage,
    StageKind,
    TreeState,
    Update,
    Updating,
)
from pushmirror.core.paths import MAX_PART_BYTES, MAX_PATH_BYTES, RESERVED_PARTS, TreePath
from pushmirror.core.relay_messages import (
    RELAY_HEARTBEAT,
    RELAY_STATE,
    format_relay_heartbeat,
    format_relay_state,
    parse_relay_heartbeat,
    parse_relay_state,
)
from pushmirror.core.rotation import ROTATED, Rotation, format_rotation, parse_rotation
from pushmirror.core.source import Source
from pushmirror.errors import MalformedMessage

Read = Callable[[Mapping[str, Any]], Any]
Write = Callable[[Any], dict[str, Any]]

REPORTS = tuple(report_kind(event) for event in Event)


def _report_reader(kind: str) -> Read:
    return lambda msg: parse_report(kind, msg)


KINDS: dict[str, tuple[Read, Write]] = {
    UPDATED: (parse_update, format_update),
    HEARTBEAT: (parse_heartbeat, format_heartbeat),
    UPDATING: (parse_updating, format_updating),
    STATE: (parse_state, format_state),
    ROTATED: (parse_rotation, format_rotation),
    RELAY_HEARTBEAT: (parse_relay_heartbeat, format_relay_heartbeat),
    RELAY_STATE: (parse_relay_state, format_relay_state),
    **{kind: (_report_reader(kind), format_report) for kind in REPORTS},
}
_OPTIONS = RunOptions(temp_dir="/tree/.~pushmirror~/tmp", metadata_dir="/tree/.~pushmirror~", io_timeout_s=1,
                      connect_timeout_s=1)  # fmt: skip
_SOURCE = Source("rsync://mirror.example.org/module/", b"below")


def examples() -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield messages that are in order, by kind."""
    for changes in (CHANGES, None, ChangeList()):
        for serial, whole in ((8, False), (1, changes is None)):
            yield UPDATED, format_update(_update(serial, changes, whole=whole))
    yield HEARTBEAT, format_heartbeat(Heartbeat(PUBLISHER, 3, NOW_MS, 30_000, {TREE: HEAD}))
    yield UPDATING, format_updating(Updating(PUBLISHER, TREE, NOW_MS, NOW_MS + 100_000))
    yield STATE, format_state(TreeState(PUBLISHER, TREE, HEAD, 1, "12345678"))
    yield ROTATED, format_rotation(
        Rotation(PUBLISHER, PINNED.public.line, STRANGER.public.line, NOW_MS, 86_400_000)
    )  # fmt: skip
    relayed = RelayHead(EPOCH, HEAD, 6)
    yield RELAY_HEARTBEAT, format_relay_heartbeat(RelayHeartbeat(PUBLISHER, RELAY, 3, NOW_MS, 30_000, {TREE: relayed}))
    yield RELAY_STATE, format_relay_state(RelayState(PUBLISHER, RELAY, TREE, relayed, "6" * 64, 1, "12345678"))
    for event in Event:
        yield report_kind(event), format_report(
            Report(event, NODE, PUBLISHER, TREE, EPOCH, 7, 6, "list", files=3, lag_ms=5, exit_code=-9, reason="ended")
        )  # fmt: skip


def _update(serial: int, changes: ChangeList | None, *, whole: bool) -> Update:
    listed = None if whole else ("0" * 64 if changes is None else list_digest(changes))
    return Update(
        PUBLISHER, TREE, EPOCH, serial, serial - 1, HEAD.digest if serial > 1 else None, NOW_MS, whole, listed, changes,
        5, 1, 2048, 1_795_338_259_000_000_000, 20,
    )  # fmt: skip


def read_as_every_kind(msg: Mapping[str, Any]) -> int:
    """Read `msg` as each kind: it is refused in printable words, or is the same after being written and read again.

    Returns as how many kinds it was read.
    """
    count = 0
    for read, write in KINDS.values():
        try:
            found = read(msg)
        except MalformedMessage as error:
            assert str(error).isprintable(), str(error)
            continue
        if isinstance(found, Update) and found.changes is not None:
            judge_changes(found.changes)
            # Its digest is that of the list as it came, which may have had keys that we do not know.
            found = replace(found, list_digest=list_digest(found.changes))
        assert read(write(found)) == found, "what was written is not what was read"
        count += 1
    return count


def judge_changes(changes: ChangeList) -> None:
    """Every path of a list that was believed stays in its tree, and none gets into the arguments of an rsync."""
    paths = [*changes.changed, *changes.deleted, *changes.directories, *changes.bare]
    paths += [path for pair in changes.linked for path in pair] + [stamp.path for stamp in changes.stamps]
    for path in paths:
        judge_path(path)
    if not paths:
        return
    for kind in StageKind:
        command = build_command(Stage(kind, tuple(paths)), _SOURCE, "/tree", _OPTIONS)
        plain = build_command(Stage(kind, (TreePath(b"a"),)), _SOURCE, "/tree", _OPTIONS)
        assert command.arguments == plain.arguments, "a path became an argument"
        assert command.listing == b"".join(b"below/./" + path + b"\0" for path in paths)


def judge_path(path: bytes) -> None:
    """Judge in the words of posixpath alone whether `path` is a place inside its tree, and nobody's but its own."""
    assert posixpath.normpath(posixpath.join(b"/tree", path)) == b"/tree/" + path, path
    assert b"\0" not in path and len(path) <= MAX_PATH_BYTES
    parts = path.split(b"/")
    assert RESERVED_PARTS.isdisjoint(parts) and max(map(len, parts)) <= MAX_PART_BYTES, path
