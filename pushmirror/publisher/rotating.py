"""Exchanges the key of a publisher, in steps each of which leaves one that works.

1. The next key is made, beside the one in use.
2. What tells of it, signed with the one in use, is recorded: from here on the key is exchanged.
3. The one in use gets a second name, under which it is found as long as it counts.
4. The next key takes the place of the one in use, its public half first.

The daemon finds its keys after each of them. A rotation that was interrupted before step 2 never was; one that was
interrupted later is finished by the next one, which then is none of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.rotation import MAX_ROTATIONS, ROTATED, Rotation, format_rotation
from pushmirror.errors import KeyFileError, Refused, StateError
from pushmirror.keys import PrivateKey, PublicKey, generate_key_file, load_private_key, seal
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.placing import give_to_owner_of, sync_folder
from pushmirror.publisher.rotation_files import (
    RECORD_NAME,
    SignedRotation,
    find_old_files,
    next_file,
    old_file,
    public_file,
    read_record,
    write_record,
)

_LOCK_NAME = "rotating.lock"


def _go_on(step: str) -> None: ...


@dataclass(frozen=True)
class Rotator:
    """Exchanges the key in the file `key` of the publisher `identity`; `overlap_ms` is how long the old one counts.

    `reached` is called with the name of each step when it is done.
    """

    key: Path
    state_dir: Path
    identity: Identity
    overlap_ms: int
    clock_ms: Callable[[], int]
    reached: Callable[[str], None] = _go_on

    def rotate(self) -> tuple[Rotation, bool]:
        """Exchange the key, or finish a rotation that was interrupted; returns it, and whether it was a new one.

        Raises KeyFileError or StateError, with advice, when a step is not possible: then all is as it was, or it is
        finished the next time. Raises Refused when so many rotations were made that nobody would follow.
        """
        with self._locked():
            own, record = load_private_key(self.key), read_record(self.state_dir)
            unfinished = self._find_unfinished(own, record)
            if unfinished is None:
                if len(record) >= MAX_ROTATIONS:
                    advice = f"move {RECORD_NAME} away, make a key with keygen, and give it to every subscriber by hand"
                    raise Refused(f"the key was exchanged {len(record)} times already: {advice}")
                self._remove_expired(record)
                rotation = self._begin(own, record)
            else:
                rotation = unfinished
            try:
                self._exchange(own)
            except OSError as error:
                advice = "mend that, and run rotate-key once more: it finishes what it has begun"
                problem = f"the new key cannot take its place ({error.strerror})"
                raise KeyFileError(f"{self.key}: {problem}; {advice}") from error
        return rotation, unfinished is None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.state_dir / _LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{path}: cannot be made ({error.strerror}); run this as the daemon's user") from error
        try:
            give_to_owner_of(self.state_dir, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise Refused("another rotate-key is at work; see what it says") from error
        finally:
            os.close(descriptor)

    def _find_unfinished(self, own: PrivateKey, record: tuple[SignedRotation, ...]) -> Rotation | None:
        """Return the rotation that was signed and whose key has not come to its place."""
        with contextlib.suppress(KeyFileError):
            coming = load_private_key(next_file(self.key)).public.line
            for signed in record:
                if (signed.rotation.old, signed.rotation.new) == (own.public.line, coming):
                    return signed.rotation
        if any(signed.rotation.old == own.public.line for signed in record):
            raise KeyFileError(
                f"{self.key}: this key was exchanged before, and {next_file(self.key)}, which was to take its place, is"
                " not there: bring that back from a backup, or the newest key of this publisher into its place"
            )
        return None

    def _begin(self, own: PrivateKey, record: tuple[SignedRotation, ...]) -> Rotation:
        new = self._make_next()
        self.reached("made")
        at_ms = self.clock_ms()
        rotation = Rotation(self.identity.name, own.public.line, new.line, at_ms, self.overlap_ms)
        signed = self.identity.compose(ROTATED, format_rotation(rotation), at_ms=at_ms, counter=len(record) + 1)
        write_record(self.state_dir, (*record, SignedRotation(rotation, seal(signed, own))))
        self.reached("recorded")
        return rotation

    def _make_next(self) -> PublicKey:
        """Make the next key, in place of one that nothing was said of, with the owner of the one in use."""
        path = next_file(self.key)
        try:
            for old in (path, public_file(path)):
                old.unlink(missing_ok=True)
            new = generate_key_file(path, self.identity.name)
            owner = os.stat(self.key)
            if os.geteuid() == 0:
                for made in (path, public_file(path)):
                    os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
            sync_folder(path.parent)
        except OSError as error:
            advice = "run this as a user who may write in the folder of the key"
            raise KeyFileError(f"{path}: cannot be made ({error.strerror}); {advice}") from error
        return new

    def _exchange(self, own: PrivateKey) -> None:
        old, coming = old_file(self.key, own.public), next_file(self.key)
        with contextlib.suppress(FileExistsError):
            os.link(self.key, old)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(public_file(self.key), public_file(old))
        sync_folder(self.key.parent)
        self.reached("kept")
        with contextlib.suppress(FileNotFoundError):  # by an attempt before
            os.replace(public_file(coming), public_file(self.key))
        self.reached("public")
        os.replace(coming, self.key)
        sync_folder(self.key.parent)
        self.reached("exchanged")

    def _remove_expired(self, record: tuple[SignedRotation, ...]) -> None:
        """Remove the keys of before that count no more: nobody should find them."""
        now_ms = self.clock_ms()
        counting = {signed.rotation.old for signed in record if now_ms < signed.rotation.until_ms}
        for path in find_old_files(self.key):
            with contextlib.suppress(KeyFileError, OSError):
                if load_private_key(path).public.line not in counting:
                    path.unlink()
                    public_file(path).unlink(missing_ok=True)
