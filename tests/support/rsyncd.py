"""A real rsync daemon on loopback, and what its log says about each connection."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.ports import accepts, free_port
from tests.support.processes import clean_environment
from tests.support.waiting import NeverHappened, wait_until

START_ATTEMPTS = 5
LOG_LINE = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?P<pid>\d+)\] (?P<text>.*)")
REQUEST = re.compile(r"rsync (?:on|allowed access on module) (?P<request>.*) from \S+ \(\S+\)$")
TOTALS = re.compile(r"sent (?P<sent>\d+) bytes  received (?P<received>\d+) bytes  total size (?P<total>\d+)$")


@dataclass(frozen=True)
class Connection:
    """What the daemon's log tells about one connection.

    `request` is what was asked for (``module/`` or ``module/path``; None: nothing, or refused before that), `sent` the
    names of the files whose contents the daemon sent, as the log writes them. The byte counts are the daemon's own
    and None as long as the connection lasts or when it was cut off; `total_size_bytes` is the volume of everything in
    the file list, sent or not.
    """

    process_id: int
    request: str | None
    sent: tuple[str, ...]
    sent_bytes: int | None
    received_bytes: int | None
    total_size_bytes: int | None
    lines: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether the transfer ran to its end."""
        return self.sent_bytes is not None


class RsyncDaemon:
    """``rsync --daemon`` as the current user, serving `modules` (name to directory) read-only, in a `with` block.

    `use_chroot` needs root: elsewhere the test is skipped. `max_connections` of 0 is no limit. `extra` is put into
    the settings before the modules, so it holds for all of them. Settings, log and lock file are under `tmp_path`.
    The daemon reads its settings anew for every connection.
    """

    def __init__(
        self,
        tmp_path: Path,
        modules: Mapping[str, Path],
        *,
        use_chroot: bool = False,
        max_connections: int = 0,
        extra: str = "",
        port: int | None = None,
    ) -> None:
        if shutil.which("rsync") is None:
            pytest.skip("rsync is not installed")
        if use_chroot and os.geteuid() != 0:
            pytest.skip("use chroot = yes needs root")
        self.port = port or free_port()
        self._port_is_fixed = port is not None
        self._modules = {name: Path(path) for name, path in modules.items()}
        self._use_chroot = use_chroot
        self._max_connections = max_connections
        self._extra = extra
        self._folder = tmp_path
        self._settings_path = tmp_path / "rsyncd.conf"
        self._log_path = tmp_path / "rsyncd.log"
        self._output_path = tmp_path / "rsyncd.output"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RsyncDaemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemon and return when it accepts connections; on the same port when it is started again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_settings()
        for attempt in range(1, START_ATTEMPTS + 1):
            log_start = len(self.log_text())
            self._launch()
            if self._came_up(log_start):
                return
            output = self._output_path.read_text() + self.log_text()[log_start:]
            self.stop()
            if self._port_is_fixed or "in use" not in output or attempt == START_ATTEMPTS:
                raise AssertionError(f"the rsync daemon did not start on port {self.port}:\n{output}")
            self.port = free_port()

    def stop(self) -> None:
        """End the daemon and every connection it serves; nothing when it does not run."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None

    def url(self, module: str, path: str = "") -> str:
        """Return the rsync URL of a module, or of a directory in it."""
        return f"rsync://127.0.0.1:{self.port}/{module}/" + (f"{path.strip('/')}/" if path else "")

    def set_module_path(self, name: str, path: Path) -> None:
        """Serve another directory under `name` from the next connection on, as if disks had been (un)mounted."""
        self._modules[name] = Path(path)
        self._write_settings()

    def log_text(self) -> str:
        """Return the daemon's log so far."""
        return self._log_path.read_bytes().decode("utf-8", "backslashreplace") if self._log_path.exists() else ""

    def connections(self) -> list[Connection]:
        """Return what the log says about each connection that asked for something, in the order they came in.

        The daemon writes the byte counts after the client has gone: wait with `wait_for_connections` before counting.
        """
        lines_by_process: dict[int, list[str]] = {}
        for line in self.log_text().splitlines():
            match = LOG_LINE.match(line)
            if match:
                lines_by_process.setdefault(int(match["pid"]), []).append(match["text"])
        found = [parse_connection(process_id, lines) for process_id, lines in lines_by_process.items()]
        return [connection for connection in found if connection.request is not None]

    def wait_for_connections(self, count: int, *, deadline_seconds: float = 10) -> list[Connection]:
        """Return the connections once at least `count` of them have ended and been accounted for in the log."""

        def accounted() -> list[Connection] | None:
            connections = self.connections()
            return connections if sum(connection.ended for connection in connections) >= count else None

        what = f"{count} ended connections in the rsync daemon's log"
        return wait_until(accounted, deadline_seconds=deadline_seconds, what=what)

    def _launch(self) -> None:
        command = ["rsync", "--daemon", "--no-detach", f"--config={self._settings_path}", f"--port={self.port}"]
        with self._output_path.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--address=127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**clean_environment(), "LC_ALL": "C"},
                start_new_session=True,
            )

    def _came_up(self, log_start: int) -> bool:
        """Return whether the daemon came to take connections, as told by its own log: another may have the port."""
        process = self._process
        assert process is not None

        def ended_or_answered() -> bool:
            return process.poll() is not None or (accepts(self.port) and "connect from" in self.log_text()[log_start:])

        with contextlib.suppress(NeverHappened):
            wait_until(ended_or_answered, what="the rsync daemon to accept connections")
            return process.poll() is None
        return False

    def _write_settings(self) -> None:
        """Write beside and rename: a connection may be reading them at this moment."""
        beside = self._settings_path.with_suffix(".new")
        beside.write_text(self._settings_text())
        beside.replace(self._settings_path)

    def _settings_text(self) -> str:
        lines = [
            f"use chroot = {'yes' if self._use_chroot else 'no'}",
            "munge symlinks = no",
            "read only = yes",
            "reverse lookup = no",
            f"max connections = {self._max_connections}",
            f"lock file = {self._folder / 'rsyncd.lock'}",
            f"log file = {self._log_path}",
            "transfer logging = yes",
            "log format = %o %f",
        ]
        if os.geteuid() == 0:  # a daemon that was started as root would otherwise read as nobody
            lines += ["uid = root", "gid = root"]
        lines.append(self._extra)
        for name, path in self._modules.items():
            lines += [f"[{name}]", f"    path = {path}"]
        return "\n".join(lines) + "\n"


def parse_connection(process_id: int, lines: list[str]) -> Connection:
    """Return what the log lines of one of the daemon's processes say."""
    requests = [match["request"] for line in lines if (match := REQUEST.match(line))]
    totals = next((match for line in lines if (match := TOTALS.match(line))), None)
    return Connection(
        process_id=process_id,
        request=requests[-1] if requests else None,
        sent=tuple(line.removeprefix("send ") for line in lines if line.startswith("send ")),
        sent_bytes=int(totals["sent"]) if totals else None,
        received_bytes=int(totals["received"]) if totals else None,
        total_size_bytes=int(totals["total"]) if totals else None,
        lines=tuple(lines),
    )
