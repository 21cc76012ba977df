"""What an operator announces, and how it becomes the bytes that are signed: with its list, without, or whole."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pushmirror.core.lists import MAX_LIST_BYTES, MAX_LIST_PATHS, format_changes
from pushmirror.core.messages import UPDATED, format_update
from pushmirror.core.model import ChangeList, Head, Update
from pushmirror.core.wire import MAX_INLINE_BYTES, canonical, digest
from pushmirror.publisher.identity import Identity

SIGNATURE_ROOM_BYTES = 512
"""What signing adds to a message: the signature, the signer's public key, and their names; about 200 bytes."""


@dataclass(frozen=True)
class Announcement:
    """New content in one tree. `changes` None: anything in the tree may have changed."""

    identity: Identity
    tree: str
    changes: ChangeList | None
    bytes: int = 0
    root_mtime_ns: int | None = None
    max_clients: int | None = None


@dataclass(frozen=True)
class PreparedList:
    """A change list in its canonical form, and the digest by which a header vouches for it."""

    changes: ChangeList
    body: bytes
    digest: str


def prepare_list(changes: ChangeList | None) -> PreparedList | None:
    """Return the list as it is stored and served; None for a whole tree, and for a list above what one may hold."""
    if changes is None:
        return None
    if sum(len(getattr(changes, each.name)) for each in fields(changes)) > MAX_LIST_PATHS:
        return None
    body = canonical(format_changes(changes))
    return PreparedList(changes, body, digest(body)) if len(body) <= MAX_LIST_BYTES else None


@dataclass(frozen=True)
class ComposedUpdate:
    """An update before it is signed; `inline`: its list travels in the message."""

    signed: bytes
    inline: bool


def compose_update(
    announcement: Announcement, prepared: PreparedList | None, previous: Head, *, at_ms: int
) -> ComposedUpdate:
    """Return the update that follows on `previous`, as the bytes to be signed.

    The list goes into the message when the whole of it, signed, stays under MAX_INLINE_BYTES.
    """
    if prepared is not None and len(prepared.body) < MAX_INLINE_BYTES:
        signed = _compose(announcement, prepared, previous, at_ms, inline=True)
        if len(signed) + SIGNATURE_ROOM_BYTES < MAX_INLINE_BYTES:
            return ComposedUpdate(signed, True)
    return ComposedUpdate(_compose(announcement, prepared, previous, at_ms, inline=False), False)


def _compose(
    announcement: Announcement, prepared: PreparedList | None, previous: Head, at_ms: int, *, inline: bool
) -> bytes:
    update = Update(
        publisher=announcement.identity.name,
        tree=announcement.tree,
        epoch=previous.epoch,
        serial=previous.serial + 1,
        previous=previous.serial,
        previous_digest=previous.digest,
        at_ms=at_ms,
        whole=prepared is None,
        list_digest=None if prepared is None else prepared.digest,
        changes=prepared.changes if prepared is not None and inline else None,
        changed=0 if prepared is None else len(prepared.changes.changed),
        deleted=0 if prepared is None else len(prepared.changes.deleted),
        bytes=0 if prepared is None else announcement.bytes,
        root_mtime_ns=announcement.root_mtime_ns,
        max_clients=announcement.max_clients,
    )
    return announcement.identity.compose(UPDATED, format_update(update), at_ms=at_ms, counter=update.serial)
