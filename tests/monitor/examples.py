"""Signed messages of a made-up publisher and its node, for the tests of those who look on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pushmirror.core.lists import list_digest
from pushmirror.core.messages import (
    HEARTBEAT,
    UPDATED,
    format_heartbeat,
    format_report,
    format_update,
    report_kind,
    topic,
)
from pushmirror.core.model import ChangeList, Event, Head, Heartbeat, Report, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import compose
from pushmirror.keys import PrivateKey, generate_key_file, load_private_key, seal

PUBLISHER = "mirror.example.org"
NODE = "t2.example.net"
TREE = "fedora-updates"
PREFIX, ENVIRONMENT = "org.example", "prod"
EPOCH = "1790000000000-0123456789abcdef"
AT_MS = 1_790_000_100_000
CHANGES = ChangeList(changed=(TreePath(b"pool/a.rpm"), TreePath(b"pool/b.rpm")), deleted=(TreePath(b"pool/old.rpm"),))


def make_key(folder: Path, name: str) -> PrivateKey:
    generate_key_file(folder / name, name)
    return load_private_key(folder / name)


def topic_of(kind: str) -> str:
    return topic(PREFIX, ENVIRONMENT, kind)


def sign(key: PrivateKey, kind: str, msg: dict[str, Any], *, topic_text: str | None = None) -> bytes:
    """Return the message as it travels, signed with `key`."""
    signed = compose(topic_text or topic_of(kind), msg, msg_id="2026-1", at_ms=AT_MS, counter=1, username=PUBLISHER)
    return seal(signed, key)


def update_msg(serial: int = 12, changes: ChangeList | None = CHANGES, *, inline: bool = True) -> dict[str, Any]:
    """Return the content of an announcement; `changes` None: the whole tree."""
    return format_update(
        Update(
            publisher=PUBLISHER,
            tree=TREE,
            epoch=EPOCH,
            serial=serial,
            previous=serial - 1,
            previous_digest=None if serial == 1 else previous_digest(serial),
            at_ms=AT_MS,
            whole=changes is None,
            list_digest=None if changes is None else list_digest(changes),
            changes=changes if inline else None,
            changed=0 if changes is None else len(changes.changed),
            deleted=0 if changes is None else len(changes.deleted),
            bytes=2_100_000,
        )
    )


def previous_digest(serial: int) -> str:
    return f"{serial - 1:064x}"


def heartbeat_msg(serial: int = 12) -> dict[str, Any]:
    head = Head(EPOCH, serial, f"{serial:064x}" if serial else None)
    return format_heartbeat(Heartbeat(PUBLISHER, 17, AT_MS, 30_000, {TREE: head, "debian": head}))


def report_msg(event: Event = Event.COMPLETED, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "event": event,
        "node": NODE,
        "publisher": PUBLISHER,
        "tree": TREE,
        "epoch": EPOCH,
        "applied": 12,
        "cleaned": 12,
        "scope": "list",
        "files": 3,
        "bytes": 2048,
        "duration_ms": 210,
        "lag_ms": 260,
        "exit_code": 0,
    }
    return format_report(Report(**(values | changes)))


def every_message(key: PrivateKey, node_key: PrivateKey) -> list[tuple[str, bytes]]:
    """Return one message of each kind with its kind."""
    report = report_kind(Event.COMPLETED)
    return [
        (UPDATED, sign(key, UPDATED, update_msg())),
        (HEARTBEAT, sign(key, HEARTBEAT, heartbeat_msg())),
        (report, sign(node_key, report, report_msg())),
    ]
