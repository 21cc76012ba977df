"""A note beside the journal of its newest epoch: when the journal is lost, or cannot be read, the next epoch has to be
younger than that all the same, whatever the clock says by then."""

from __future__ import annotations

import os
from pathlib import Path

from pushmirror.core.epochs import is_epoch
from pushmirror.publisher.placing import give_to_owner_of, sync_folder

NOTE_SUFFIX = ".epoch"
_MAX_BYTES = 256


def note_of(path: Path) -> Path:
    """Return where the note of the journal at `path` is."""
    return path.with_name(path.name + NOTE_SUFFIX)


def read_epoch_note(path: Path) -> str | None:
    """Return the epoch that was noted beside the journal at `path`; None when there is no note, or none that holds."""
    try:
        with note_of(path).open("rb") as note:
            text = note.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if is_epoch(text) else None


def write_epoch_note(path: Path, epoch: str) -> None:
    """Note the epoch, in one step and durably. Raises OSError."""
    note = note_of(path)
    beside = note.with_name(f".{note.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            give_to_owner_of(note.parent, descriptor)
            file.write(f"{epoch}\n".encode("ascii"))
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, note)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(note.parent)
