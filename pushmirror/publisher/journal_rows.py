"""What the journal tells of its updates, as frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pushmirror.core.wire import attach

COLUMNS = "position, tree, serial, digest, signed, list_digest, inline, at_ms, sent_ms, signature, certificate"
"""The columns that `make_row` takes, in its order."""


@dataclass(frozen=True)
class Announced:
    """What became of an announcement. `whole`: it covers the whole tree, asked for or because its list was too long."""

    serial: int
    digest: str
    whole: bool


@dataclass(frozen=True)
class UpdateRow:
    """One update in the journal. `signature` and `certificate` are there once it was sent (`sent_ms`).

    `position` orders the updates of all trees as they were announced.
    """

    position: int
    tree: str
    serial: int
    digest: str
    signed: bytes
    list_digest: str | None
    inline: bool
    at_ms: int
    sent_ms: int | None
    signature: bytes | None
    certificate: str | None

    def envelope(self) -> bytes:
        """Return the message as it was sent; it must have been."""
        if self.signature is None or self.certificate is None:
            raise ValueError(f"update {self.serial} of {self.tree} is not signed yet")
        return attach(self.signed, self.signature, self.certificate)


@dataclass(frozen=True)
class SentUpdate:
    """That an update is sent, and with which signature."""

    position: int
    signature: bytes
    certificate: str


@dataclass(frozen=True)
class History:
    """How much the journal keeps: `used_bytes` of its file; the oldest update is of `oldest_ms` (None: there is none).

    `proofs`: how often it was shown to be a copy from before, and got a new epoch.
    """

    used_bytes: int
    oldest_ms: int | None
    proofs: int


def make_row(found: Sequence[Any]) -> UpdateRow:
    """Return the row of a query for COLUMNS as a value."""
    position, tree, serial, digest, signed, list_digest, inline, *rest = found
    return UpdateRow(position, tree, serial, digest, signed, list_digest, bool(inline), *rest)
