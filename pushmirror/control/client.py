"""Asks a running daemon something on its control socket. Plain blocking sockets, so that commands start at once."""

from __future__ import annotations

import contextlib
import grp
import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from pushmirror.control.limits import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES
from pushmirror.errors import NotRunning, Refused, StateError, TimedOut, UsageError

_log = logging.getLogger(__name__)

WAKE_TIMEOUT_SECONDS = 2.0
HOW_TO_START = (
    "start it with `systemctl start pushmirror-publisher` or `pushmirror-subscriber`, "
    "or in the foreground with `pushmirror publisher` or `pushmirror subscriber` and --config FILE"
)


def ask(path: Path, request: Mapping[str, object], timeout_seconds: float = 10) -> dict[str, object]:
    """The daemon's answer to `request`, a mapping with the key ``command``; the answer comes without ``ok``.

    `timeout_seconds` bounds the whole exchange. Raises NotRunning when no daemon listens at `path`, Refused with the
    daemon's own text (and its exit code) when it declines, TimedOut, UsageError when this user may not ask or the
    request is too large, StateError when something else answers.
    """
    line = json.dumps(dict(request)).encode("ascii") + b"\n"
    if len(line) > MAX_REQUEST_BYTES:
        raise UsageError(f"this request is too large for the daemon ({len(line)} bytes); ask for fewer paths at once")
    deadline = time.monotonic() + timeout_seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            _connect(connection, path, timeout_seconds)
            # A daemon that takes no more connections answers and closes before it has read the request.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(line)
            answer = _receive_line(connection, deadline)
    except (TimeoutError, BlockingIOError) as error:
        text = f"the daemon at {path} did not answer within {timeout_seconds:g} s; its log may say what it is doing"
        raise TimedOut(text) from error
    return _judge(path, answer)


def wake(path: Path) -> bool:
    """Tell the daemon to look at its journal now. False when it was not told; it looks when it is started.

    Never raises because of a daemon that is down, stuck or out of bounds for this user.
    """
    try:
        ask(path, {"command": "wake"}, WAKE_TIMEOUT_SECONDS)
    except NotRunning:
        return False
    except (Refused, TimedOut, UsageError, StateError) as error:
        _log.warning("the daemon was not woken: %s", error)
        return False
    return True


def _connect(connection: socket.socket, path: Path, timeout_seconds: float) -> None:
    connection.settimeout(timeout_seconds)
    try:
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NotRunning(f"no daemon answers at {path}; {HOW_TO_START}") from error
    except PermissionError as error:
        raise UsageError(f"{path}: you may not use this control socket; {_who_may(path)}") from error
    except (TimeoutError, BlockingIOError):
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be used as a control socket ({error.strerror or error})") from error


def _who_may(path: Path) -> str:
    """Advice for a user who is kept out: the group of the socket, or of the folder that hides it."""
    for place in (path, *path.parents):
        try:
            group_id = place.stat().st_gid
        except OSError:
            continue
        try:
            group = grp.getgrgid(group_id).gr_name
        except KeyError:
            group = str(group_id)
        return f"{place} belongs to the group {group}: become a member of it (usermod -aG {group} USER), or use sudo"
    return "use sudo"


def _receive_line(connection: socket.socket, deadline: float) -> bytes:
    """Everything up to the newline or the end; bounded in size and in time."""
    received = bytearray()
    while not received.endswith(b"\n") and len(received) <= MAX_ANSWER_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            piece = connection.recv(256 * 1024)
        except ConnectionResetError:
            break
        if not piece:
            break
        received += piece
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(received)


def _judge(path: Path, line: bytes) -> dict[str, object]:
    if not line.endswith(b"\n"):
        if len(line) > MAX_ANSWER_BYTES:
            raise StateError(f"the answer at {path} does not end; this is no pushmirror daemon of this version")
        raise NotRunning(f"the daemon at {path} went away before it had answered; see its log, and {HOW_TO_START}")
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise StateError(f"what answers at {path} is no pushmirror daemon; check the setting `control`")
    if not answer.pop("ok"):
        raise _refusal(answer)
    return answer


def _refusal(answer: Mapping[str, object]) -> Refused:
    refusal = Refused(str(answer.get("error", "the daemon refused without a reason")))
    code = answer.get("code")
    if isinstance(code, int) and 1 <= code <= 255:
        refusal.exit_code = code
    return refusal
