"""What a relay says in its own name: each model to the ``msg`` of its envelope, and back. Raises MalformedMessage only.

Updates are not among them: a relay hands on those of the origin as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pushmirror.core.messages import (
    MAX_TREES,
    NAME,
    format_head,
    open_fields,
    read_digest,
    read_head,
    read_interval_ms,
    read_name,
)
from pushmirror.core.model import RelayHead, RelayHeartbeat, RelayState
from pushmirror.core.wire import FORMAT, MAX_MESSAGE_BYTES, Fields, open_envelope_object, parse_object
from pushmirror.errors import MalformedMessage

RELAY_HEARTBEAT = "relay.heartbeat"
RELAY_STATE = "relay.state"

_MAX_NONCE_LENGTH = 64


def format_relay_heartbeat(heartbeat: RelayHeartbeat) -> dict[str, Any]:
    """Return the ``msg`` of a ``relay.heartbeat``."""
    return {
        "format": FORMAT,
        "publisher": heartbeat.publisher,
        "relay": heartbeat.relay,
        "counter": heartbeat.counter,
        "at_ms": heartbeat.at_ms,
        "interval_ms": heartbeat.interval_ms,
        "trees": {name: _format_relay_head(head) for name, head in heartbeat.trees.items()},
    }


def parse_relay_heartbeat(msg: Mapping[str, Any]) -> RelayHeartbeat:
    """Return the heartbeat of a relay in `msg`."""
    fields = open_fields(msg)
    trees = fields.object("trees")
    if len(trees) > MAX_TREES or not all(NAME.fullmatch(name) for name in trees):
        raise MalformedMessage(f"trees has more than {MAX_TREES} entries or a name that is none")
    return RelayHeartbeat(
        publisher=read_name(fields, "publisher"),
        relay=read_name(fields, "relay"),
        counter=fields.integer("counter"),
        at_ms=fields.integer("at_ms"),
        interval_ms=read_interval_ms(fields),
        trees={name: _read_relay_head(Fields(Fields(trees).object(name))) for name in trees},
    )


def format_relay_state(state: RelayState) -> dict[str, Any]:
    """Return the ``msg`` of a relay's signed answer to ``GET /v1/trees/T``."""
    return {
        "format": FORMAT,
        "publisher": state.publisher,
        "relay": state.relay,
        "tree": state.tree,
        **_format_relay_head(state.head),
        "cleaned_digest": state.cleaned_digest,
        "oldest": state.oldest,
        "nonce": state.nonce,
        "testimony": None if state.testimony is None else parse_object(state.testimony, max_bytes=MAX_MESSAGE_BYTES),
    }


def parse_relay_state(msg: Mapping[str, Any]) -> RelayState:
    """Return the state of a tree at a relay in `msg`."""
    fields = open_fields(msg)
    head = _read_relay_head(fields)
    cleaned_digest = read_digest(fields, "cleaned_digest")
    if cleaned_digest is not None and head.cleaned < 1:
        raise MalformedMessage("cleaned_digest is that of an update, of which there is none below serial 1")
    return RelayState(
        publisher=read_name(fields, "publisher"),
        relay=read_name(fields, "relay"),
        tree=read_name(fields, "tree"),
        head=head,
        cleaned_digest=cleaned_digest,
        oldest=fields.integer("oldest"),
        nonce=fields.text("nonce", max_length=_MAX_NONCE_LENGTH),
        testimony=_read_testimony(fields),
    )


def _read_testimony(fields: Fields) -> bytes | None:
    if not fields.has("testimony"):
        return None
    return open_envelope_object(fields.object("testimony")).travelling


def _format_relay_head(head: RelayHead) -> dict[str, Any]:
    return {**format_head(head.applied), "cleaned": head.cleaned}


def _read_relay_head(fields: Fields) -> RelayHead:
    applied = read_head(fields)
    cleaned = fields.integer("cleaned", lowest=-1)
    if cleaned > applied.serial:
        raise MalformedMessage("cleaned is above the serial that is applied")
    return RelayHead(applied.epoch, applied, cleaned)
