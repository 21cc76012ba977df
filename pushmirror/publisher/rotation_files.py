"""Where the keys of a publisher are while it goes over from one to the next, and what it has said of that.

Beside the key file FILE of the settings there may be FILE.next, which is being made, and FILE.old-NAME for each key of
before; NAME is the beginning of its fingerprint. What was signed is in the state folder: one message a line.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from pushmirror.core.rotation import MAX_ROTATIONS, Rotation, fingerprint, parse_rotation
from pushmirror.core.wire import MAX_MESSAGE_BYTES, open_envelope
from pushmirror.errors import KeyFileError, MalformedMessage, StateError
from pushmirror.keys import PrivateKey, PublicKey, load_private_key, parse_public_line, verify_envelope
from pushmirror.publisher.placing import give_to_owner_of, sync_folder

RECORD_NAME = "rotations.jsonl"
"""The file's name in the publisher's ``state_dir``."""
_NEXT = ".next"
_OLD = ".old-"


@dataclass(frozen=True)
class SignedRotation:
    """A rotation, and the message that tells it as it travels."""

    rotation: Rotation
    envelope: bytes


def next_file(key: Path) -> Path:
    """Return where the next key is until it has the place of the one in the file `key`."""
    return key.with_name(key.name + _NEXT)


def old_file(key: Path, public: PublicKey) -> Path:
    """Return where a key of before is kept beside the file `key`."""
    return key.with_name(f"{key.name}{_OLD}{fingerprint(public.line)}")


def public_file(key: Path) -> Path:
    """Return where the public half of the key in the file `key` is."""
    return key.with_name(key.name + ".pub")


def find_old_files(key: Path) -> list[Path]:
    """Return the files of all keys of before, public halves aside."""
    return sorted(path for path in key.parent.glob(f"{escape(key.name)}{_OLD}*") if path.suffix != ".pub")


def load_keys(key: Path) -> dict[str, PrivateKey]:
    """Return every key that there is beside the file `key` and in it, by its public line; that of the file first.

    Raises KeyFileError for the file itself; a key of before, or the next one, that cannot be read is left out.
    """
    own = load_private_key(key)
    found = {own.public.line: own}
    for path in (next_file(key), *find_old_files(key)):
        with contextlib.suppress(KeyFileError):
            other = load_private_key(path)
            found.setdefault(other.public.line, other)
    return found


def read_record(state_dir: Path) -> tuple[SignedRotation, ...]:
    """Return what was signed so far, the oldest first. Raises StateError for a file that is not what was written."""
    path = state_dir / RECORD_NAME
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_ROTATIONS * MAX_MESSAGE_BYTES).splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({error.strerror}); let it belong to the daemon's user") from error
    try:
        return tuple(_read_line(line) for line in lines)
    except (MalformedMessage, KeyFileError) as error:
        raise StateError(
            f"{path}: is not what rotate-key has written ({error}); bring it back from a backup, or move it away:"
            " subscribers that were off when the key was exchanged then have to be told the new one by hand"
        ) from error


def _read_line(line: bytes) -> SignedRotation:
    envelope = open_envelope(line)
    rotation = parse_rotation(envelope.msg)
    verify_envelope(envelope, [parse_public_line(rotation.old)])
    return SignedRotation(rotation, line)


def write_record(state_dir: Path, rotations: tuple[SignedRotation, ...]) -> None:
    """Write what was signed, in one step and durably. Raises StateError."""
    path = state_dir / RECORD_NAME
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            give_to_owner_of(state_dir, descriptor)
            file.writelines(signed.envelope + b"\n" for signed in rotations)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
        sync_folder(state_dir)
    except OSError as error:
        advice = "make room, or let the folder belong to the user that the daemon runs as"
        raise StateError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
