"""Who takes part: a publisher whose key is pinned, a stranger who has one too, and what either of them signs."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pushmirror.core.messages import topic
from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import attach, compose
from pushmirror.keys import PrivateKey, seal

PUBLISHER, TREE, NODE, RELAY = "mirror.example.org", "debian", "t2.example.net", "t2.example.com"
PREFIX, ENVIRONMENT = "org.example", "prod"
EPOCH, NOW_MS = "1795338257000-0123456789abcdef", 1_795_338_260_123
HEAD = Head(EPOCH, 7, "7" * 64)

PINNED = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))))

CHANGES = ChangeList(
    changed=tuple(map(TreePath, (b"-notes", b"dists", b"dists/InRelease", b"pool/caf\xe9.deb", "pool/é.deb".encode()))),
    deleted=(TreePath(b"pool/old.deb"),),
    directories=(TreePath(b"project"),),
    linked=((TreePath(b"dists/InRelease"), TreePath(b"dists/by-hash")),),
)


def compose_message(kind: str, msg: dict[str, Any]) -> bytes:
    """Return what is signed of a message of `kind` with the content `msg`."""
    return compose(
        topic(PREFIX, ENVIRONMENT, kind), msg, msg_id="2026-1", at_ms=NOW_MS, counter=1, username=PUBLISHER
    )  # fmt: skip


def sign_as_stranger(kind: str, msg: dict[str, Any]) -> bytes:
    """Return a message in order but for its signer."""
    return seal(compose_message(kind, msg), STRANGER)


def forge(kind: str, msg: dict[str, Any]) -> bytes:
    """Return a message that says it was signed with the pinned key, and was not."""
    signed = compose_message(kind, msg)
    return attach(signed, STRANGER.sign(signed), PINNED.public.line)
