"""With which keys the publisher signs now: one, or two and more while it goes over to another one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from pushmirror.core.rotation import fingerprint, signing_chain
from pushmirror.errors import PushmirrorError
from pushmirror.keys import PrivateKey, PublicKey
from pushmirror.publisher.rotation_files import RECORD_NAME, find_old_files, load_keys, read_record

_log = logging.getLogger(__name__)

ANNOUNCE_MS = 3_600_000
"""A rotation is told for this long at least, however short its overlap is."""


class Signers(Protocol):
    """Whoever has the keys to sign with."""

    def valid(self) -> tuple[PrivateKey, ...]:
        """Return the keys that count now: those of before first, the newest last."""

    def choose(self, wanted: Collection[str]) -> PrivateKey:
        """Return the newest key of those whose fingerprints are `wanted`; the oldest that counts when none is."""

    def announcements(self) -> tuple[bytes, ...]:
        """Return the messages about exchanged keys that are to be on the bus now and then."""

    def rotations(self) -> tuple[bytes, ...]:
        """Return all messages about exchanged keys, the oldest first."""


class SingleKey:
    """One key, which was never exchanged."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    def valid(self) -> tuple[PrivateKey, ...]:
        return (self._key,)

    def choose(self, wanted: Collection[str]) -> PrivateKey:
        return self._key

    def announcements(self) -> tuple[bytes, ...]:
        return ()

    def rotations(self) -> tuple[bytes, ...]:
        return ()


class SigningKeys:
    """The keys in and beside the file `key`, with what was signed of them in `state_dir`; `refresh` reads them anew.

    Raises KeyFileError or StateError when they cannot be used at the start; later the keys that are known stay.
    """

    def __init__(self, key: Path, state_dir: Path, clock_ms: Callable[[], int]) -> None:
        self._key = key
        self._state_dir = state_dir
        self._clock_ms = clock_ms
        self._seen = self._look()
        self._failed: tuple[object, ...] | None = None
        self._keys = load_keys(key)
        self._own = next(iter(self._keys))
        self._record = read_record(state_dir)
        self._told: tuple[str, ...] = ()
        self.valid()

    def _look(self) -> tuple[object, ...]:
        """Return what tells that something has changed: which files there are, and of when."""
        files = (self._key, self._state_dir / RECORD_NAME, *find_old_files(self._key))
        return tuple(_stamp(path) for path in files)

    def refresh(self) -> bool:
        """Read keys and rotations anew if they changed, and tell whether they did. Raises nothing: what is known goes
        on."""
        seen = self._look()
        if seen == self._seen:
            return False
        try:
            keys, record = load_keys(self._key), read_record(self._state_dir)
        except PushmirrorError as error:
            if seen != self._failed:
                _log.error("the keys could not be read anew, and those of before go on: %s", error)
            self._failed = seen
            return False
        # Those that are in use stay at hand: a file is exchanged in several steps.
        self._seen, self._keys, self._record = seen, {**self._keys, **keys}, record
        self._own = next(iter(keys))
        return True

    @property
    def _chain(self) -> tuple[str, ...]:
        rotations = [signed.rotation for signed in self._record]
        return signing_chain(self._own, self._keys.keys(), rotations, self._clock_ms())

    def valid(self) -> tuple[PrivateKey, ...]:
        """Return the keys that count now: those of before first, the newest last."""
        chain = self._chain
        if chain != self._told:
            self._tell(chain)
        return tuple(self._keys[line] for line in chain)

    def _tell(self, chain: tuple[str, ...]) -> None:
        if self._told or len(chain) > 1:
            before = f", and for an overlap with {', '.join(chain[:-1])}" if len(chain) > 1 else ""
            _log.warning("messages are signed with %s%s", chain[-1], before)
        self._told = chain

    def choose(self, wanted: Collection[str]) -> PrivateKey:
        """Return the newest key of those whose fingerprints are `wanted`; the oldest that counts when none is."""
        valid = self.valid()
        return next((key for key in reversed(valid) if fingerprint(key.public.line) in wanted), valid[0])

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        """The public halves of the keys that count now."""
        return tuple(key.public for key in self.valid())

    def announcements(self) -> tuple[bytes, ...]:
        """Return the messages about exchanged keys that are to be on the bus now and then."""
        now_ms = self._clock_ms()
        return tuple(
            signed.envelope
            for signed in self._record
            if now_ms < max(signed.rotation.until_ms, signed.rotation.at_ms + ANNOUNCE_MS)
        )

    def rotations(self) -> tuple[bytes, ...]:
        """Return all messages about exchanged keys, the oldest first."""
        return tuple(signed.envelope for signed in self._record)

    def show(self) -> dict[str, object]:
        """Return what ``status`` tells. `left_over` are the files of keys that count no more: they can be removed."""
        valid, rotations = self._chain, {signed.rotation.old: signed.rotation for signed in self._record}
        return {
            "newest": valid[-1],
            "before": [{"key": line, "until": rotations[line].until_ms // 1000} for line in valid[:-1]],
            "rotations": len(self._record),
            "left_over": [str(path) for path in find_old_files(self._key) if not self._is_used(path, valid)],
        }

    def _is_used(self, path: Path, valid: Collection[str]) -> bool:
        return any(path.name.endswith(fingerprint(line)) for line in valid)


def _stamp(path: Path) -> tuple[str, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path.name, status.st_ino, status.st_mtime_ns
