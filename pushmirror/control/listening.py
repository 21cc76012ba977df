"""Makes the file-system side of a control socket: its mode, its place, and what a killed daemon left there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from pushmirror.control.limits import MAX_CONNECTIONS
from pushmirror.errors import PushmirrorError, StateError, UsageError

SOCKET_MODE = 0o660
PROBE_TIMEOUT_SECONDS = 1.0


def open_listening(path: Path) -> socket.socket:
    """A listening, non-blocking socket at `path`, which nobody but its user and group could open at any instant.

    Raises StateError when another daemon answers at `path` or something else lies there, UsageError when no socket
    can be made there.
    """
    with _translated(path), _exclusive(path.parent):
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            # A socket takes its mode from the umask when it is bound; a chmod afterwards would come too late.
            before = os.umask(0o777 & ~SOCKET_MODE)
            try:
                listening.bind(os.fspath(path))
            finally:
                os.umask(before)
            listening.listen(MAX_CONNECTIONS)
        except BaseException:  # passed on
            listening.close()
            raise
        return listening


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except PushmirrorError:
        raise
    except FileNotFoundError as error:
        advice = f"make it, or let systemd make it (RuntimeDirectory=): mkdir {path.parent}"
        raise UsageError(f"{path}: the folder of the control socket does not exist; {advice}") from error
    except PermissionError as error:
        advice = f"let {path.parent} belong to the user that the daemon runs as"
        raise UsageError(f"{path}: the control socket cannot be made there ({error.strerror}); {advice}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: no control socket can be made there ({reason}); set `control` elsewhere") from error


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keeps two daemons that start at the same moment from removing each other's fresh socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(f"{folder}: another daemon is just starting there; try again") from error
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed daemon left. StateError when it is alive, or when this is no socket."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StateError(f"{path}: something that is no socket is in the way; move it, or set `control` elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(PROBE_TIMEOUT_SECONDS)
        result = probe.connect_ex(os.fspath(path))
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result != errno.ENOENT:
        raise StateError(f"{path}: another daemon is running and answers there; stop it first, or set `control`")
