"""Tells systemd how the daemon is (sd_notify): ready, stopping, still alive. Silent when nobody asked for it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)

# systemd reads at once; a manager that does not must not stop the daemon.
SEND_TIMEOUT_SECONDS = 0.5


class Notifier:
    """Speaks to the socket in ``NOTIFY_SOCKET`` of `environ` (a path, or an abstract name after ``@``).

    Does nothing without it. A message that cannot be sent is logged and otherwise ignored.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_interval_seconds: float | None = _read_watchdog(environ)

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show `text` in ``systemctl status``; it is brought to one line."""
        self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the daemon is alive; due at least once in each `watchdog_interval_seconds`."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify_socket:
                notify_socket.settimeout(SEND_TIMEOUT_SECONDS)
                notify_socket.sendto(message.encode("utf-8", errors="replace"), address)
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", message.partition("=")[0], error)


def _read_watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds within which systemd wants a sign of life of this process; None when it wants none."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    process_id = environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if process_id and process_id != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
