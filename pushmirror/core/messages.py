"""The messages of the protocol: each model to the ``msg`` of its envelope, and back. Raises MalformedMessage only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pushmirror.core.lists import format_changes, parse_changes
from pushmirror.core.model import Event, Head, Heartbeat, Report, ScopeKind, TreeState, Update, Updating
from pushmirror.core.wire import FORMAT, Fields, canonical, digest
from pushmirror.errors import MalformedMessage

UPDATED = "tree.updated"
HEARTBEAT = "tree.heartbeat"
UPDATING = "tree.updating"
STATE = "tree.state"

DEFAULT_HEARTBEAT_MS = 30_000
SHORTEST_HEARTBEAT_MS = 1_000
LONGEST_HEARTBEAT_MS = 3_600_000
"""By how far heartbeats are apart it is judged what silence is: whoever says for ever is never silent."""
MAX_TREES = 400
"""So many fit into one heartbeat, whatever their names."""
MAX_UPDATING_MS = 3_600_000
"""No single message holds subscribers back for longer than this; an update that takes longer is told again."""
MAX_REASON_LENGTH = 500
_MAX_NONCE_LENGTH = 64
_MAX_SIGNAL = 64
"""The highest signal number; an exit code is negative when a signal ended rsync."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""Names of publishers, nodes and trees; they become part of topics, URLs and file names."""

_EPOCH = re.compile(r"[1-9][0-9]{0,17}-[0-9a-z]{8,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOPIC = re.compile(r"[^\s]+\.pushmirror\.([a-z]+\.[a-z]+)")


def topic(prefix: str, environment: str, kind: str) -> str:
    """Return the topic of a message, for example ``org.example.prod.pushmirror.tree.updated``."""
    return f"{prefix}.{environment}.pushmirror.{kind}"


def kind_of(topic_text: str) -> str | None:
    """Return what a topic is about (``tree.updated``), or None when it is not one of ours."""
    match = _TOPIC.fullmatch(topic_text)
    return match[1] if match else None


def epoch_order(epoch: str) -> tuple[int, str]:
    """Return what orders epochs, the older first: when the journal was created (ms), then the random part."""
    created_ms, _, random = epoch.partition("-")
    return int(created_ms), random


def format_update(update: Update) -> dict[str, Any]:
    """Return the ``msg`` of a ``tree.updated``."""
    return {
        "format": FORMAT,
        "publisher": update.publisher,
        "tree": update.tree,
        "epoch": update.epoch,
        "serial": update.serial,
        "previous": update.previous,
        "previous_digest": update.previous_digest,
        "at_ms": update.at_ms,
        "whole": update.whole,
        "list": None if update.changes is None else format_changes(update.changes),
        "list_digest": update.list_digest,
        "changed": update.changed,
        "deleted": update.deleted,
        "bytes": update.bytes,
        "root_mtime_ns": update.root_mtime_ns,
        "max_clients": update.max_clients,
    }


def parse_update(msg: Mapping[str, Any]) -> Update:
    """Return the update in the ``msg`` of a ``tree.updated``; an inline list has the digest that the header names."""
    fields = open_fields(msg)
    whole = fields.flag("whole")
    changes = parse_changes(fields.object("list")) if fields.has("list") else None
    update = Update(
        publisher=read_name(fields, "publisher"),
        tree=read_name(fields, "tree"),
        epoch=read_epoch(fields),
        serial=fields.integer("serial", lowest=1),
        previous=fields.integer("previous"),
        previous_digest=read_digest(fields, "previous_digest"),
        at_ms=fields.integer("at_ms"),
        whole=whole,
        list_digest=read_digest(fields, "list_digest"),
        changes=changes,
        changed=fields.integer("changed"),
        deleted=fields.integer("deleted"),
        bytes=fields.integer("bytes"),
        root_mtime_ns=_optional_integer(fields, "root_mtime_ns"),
        max_clients=_optional_integer(fields, "max_clients"),
    )
    _check_chain(update)
    _check_list(update, msg)
    return update


def _check_chain(update: Update) -> None:
    if update.previous >= update.serial:
        raise MalformedMessage("previous is not below serial")
    if (update.previous == 0) != (update.previous_digest is None):
        raise MalformedMessage("previous_digest belongs to every update but the first")


def _check_list(update: Update, msg: Mapping[str, Any]) -> None:
    if update.whole != (update.list_digest is None) or (update.whole and update.changes is not None):
        raise MalformedMessage("an update has either a list with its digest, or whole")
    if update.changes is not None and digest(canonical(msg["list"])) != update.list_digest:
        raise MalformedMessage("the list is not the one of list_digest")


def format_heartbeat(heartbeat: Heartbeat) -> dict[str, Any]:
    """Return the ``msg`` of a ``tree.heartbeat``."""
    return {
        "format": FORMAT,
        "publisher": heartbeat.publisher,
        "counter": heartbeat.counter,
        "at_ms": heartbeat.at_ms,
        "interval_ms": heartbeat.interval_ms,
        "trees": {name: format_head(head) for name, head in heartbeat.trees.items()},
    }


def parse_heartbeat(msg: Mapping[str, Any]) -> Heartbeat:
    """Return the heartbeat in `msg`; without ``interval_ms`` the protocol's default holds."""
    fields = open_fields(msg)
    trees = fields.object("trees")
    if len(trees) > MAX_TREES or not all(NAME.fullmatch(name) for name in trees):
        raise MalformedMessage(f"trees has more than {MAX_TREES} entries or a name that is none")
    return Heartbeat(
        publisher=read_name(fields, "publisher"),
        counter=fields.integer("counter"),
        at_ms=fields.integer("at_ms"),
        interval_ms=read_interval_ms(fields) if fields.has("interval_ms") else DEFAULT_HEARTBEAT_MS,
        trees={name: read_head(Fields(Fields(trees).object(name))) for name in trees},
    )


def format_updating(updating: Updating) -> dict[str, Any]:
    """Return the ``msg`` of a ``tree.updating``."""
    return {"format": FORMAT, **vars(updating)}


def parse_updating(msg: Mapping[str, Any]) -> Updating:
    """Return what is in the ``msg`` of a ``tree.updating``; it expires at most MAX_UPDATING_MS after it was sent."""
    fields = open_fields(msg)
    at_ms = fields.integer("at_ms")
    expires_ms = fields.integer("expires_ms", lowest=at_ms)
    if expires_ms - at_ms > MAX_UPDATING_MS:
        raise MalformedMessage(f"expires_ms is more than {MAX_UPDATING_MS} ms after at_ms")
    return Updating(read_name(fields, "publisher"), read_name(fields, "tree"), at_ms, expires_ms)


def format_state(state: TreeState) -> dict[str, Any]:
    """Return the ``msg`` of the signed answer to ``GET /v1/trees/T``."""
    return {
        "format": FORMAT,
        "publisher": state.publisher,
        "tree": state.tree,
        **format_head(state.head),
        "oldest": state.oldest,
        "nonce": state.nonce,
    }


def parse_state(msg: Mapping[str, Any]) -> TreeState:
    """Return the tree state in `msg`."""
    fields = open_fields(msg)
    return TreeState(
        publisher=read_name(fields, "publisher"),
        tree=read_name(fields, "tree"),
        head=read_head(fields),
        oldest=fields.integer("oldest"),
        nonce=fields.text("nonce", max_length=_MAX_NONCE_LENGTH),
    )


def report_kind(event: Event) -> str:
    """Return the last two words of a report's topic."""
    return f"sync.{event.value}"


def format_report(report: Report) -> dict[str, Any]:
    """Return the ``msg`` of a ``sync.*`` report."""
    found = {key: value for key, value in vars(report).items() if key != "event"}
    return {"format": FORMAT, **found}


def parse_report(kind: str, msg: Mapping[str, Any]) -> Report:
    """Return the report in `msg`; `kind` (``sync.completed``) comes from its topic."""
    fields = open_fields(msg)
    try:
        event = Event(kind.removeprefix("sync."))
        scope = ScopeKind(fields.text("scope")).value
    except ValueError as error:
        raise MalformedMessage("a report of no known kind or scope") from error
    return Report(
        event=event,
        node=read_name(fields, "node"),
        publisher=read_name(fields, "publisher"),
        tree=read_name(fields, "tree"),
        epoch=read_epoch(fields) if fields.has("epoch") else None,
        applied=fields.integer("applied", lowest=-1),
        cleaned=fields.integer("cleaned", lowest=-1),
        scope=scope,
        files=fields.integer("files"),
        bytes=fields.integer("bytes"),
        deleted=fields.integer("deleted"),
        files_total=_optional_integer(fields, "files_total"),
        bytes_total=_optional_integer(fields, "bytes_total"),
        duration_ms=fields.integer("duration_ms"),
        lag_ms=_optional_integer(fields, "lag_ms"),
        exit_code=_optional_integer(fields, "exit_code", lowest=-_MAX_SIGNAL),
        reason=fields.text("reason", max_length=MAX_REASON_LENGTH) if fields.has("reason") else None,
    )


def open_fields(msg: Mapping[str, Any]) -> Fields:
    """Return the fields of a ``msg`` of the format that this program speaks."""
    fields = Fields(msg)
    if fields.integer("format") != FORMAT:
        raise MalformedMessage(f"format {msg['format']} is not {FORMAT}: this program does not know it")
    return fields


def read_name(fields: Fields, key: str) -> str:
    """Return the name of a publisher, node or tree."""
    name = fields.text(key)
    if not NAME.fullmatch(name):
        raise MalformedMessage(f"{key} is not a name")
    return name


def read_epoch(fields: Fields) -> str:
    """Return the epoch."""
    epoch = fields.text("epoch")
    if not _EPOCH.fullmatch(epoch):
        raise MalformedMessage("epoch is not one")
    return epoch


def read_digest(fields: Fields, key: str) -> str | None:
    """Return a digest, None when there is none."""
    if not fields.has(key):
        return None
    value = fields.text(key)
    if not _DIGEST.fullmatch(value):
        raise MalformedMessage(f"{key} is not a SHA-256")
    return value


def read_interval_ms(fields: Fields) -> int:
    """Return how far the heartbeats of somebody are apart."""
    interval_ms = fields.integer("interval_ms", lowest=SHORTEST_HEARTBEAT_MS)
    if interval_ms > LONGEST_HEARTBEAT_MS:
        raise MalformedMessage(f"interval_ms is above {LONGEST_HEARTBEAT_MS}")
    return interval_ms


def _optional_integer(fields: Fields, key: str, *, lowest: int = 0) -> int | None:
    return fields.integer(key, lowest=lowest) if fields.has(key) else None


def format_head(head: Head) -> dict[str, Any]:
    """Return the keys by which messages tell where a tree is."""
    return {"epoch": head.epoch, "serial": head.serial, "digest": head.digest}


def read_head(fields: Fields) -> Head:
    """Return where a tree is."""
    head = Head(read_epoch(fields), fields.integer("serial"), read_digest(fields, "digest"))
    if (head.serial == 0) != (head.digest is None):
        raise MalformedMessage("a digest belongs to every serial but 0")
    return head
