"""The processes of the demonstration: started in sessions of their own, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pushmirror
from pushmirror.errors import PushmirrorError

Value = TypeVar("Value")

PUSHMIRROR = (sys.executable, "-m", "pushmirror")
_POLL_S = 0.02
_STOP_S = 15.0
_SHOWN_LOG_LINES = 30
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asks the demonstration to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruptions:
    """Turns signals into `Interrupted`, in a `with` block; inside `held` they wait until its end."""

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: int | None = None

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raise `Interrupted` for every signal inside the block."""
        before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing interrupt the block."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth and self._waiting is not None:
            number, self._waiting = self._waiting, None
            raise Interrupted(number)

    def forget(self) -> None:
        """From now on signals are ignored: everything is being cleared away already."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._waiting = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._depth:
            self._waiting = number
        else:
            raise Interrupted(number)


@dataclass(frozen=True)
class Daemon:
    """A process that runs until it is stopped, and where it writes what it has to say."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def log_tail(self) -> str:
        """Return the end of its log, under a heading."""
        text = self.log.read_text(encoding="utf-8", errors="backslashreplace") if self.log.exists() else ""
        return "\n".join([f"--- the end of the log of {self.name}:", *text.splitlines()[-_SHOWN_LOG_LINES:]])


class Processes:
    """All processes of one demonstration."""

    def __init__(self, interruptions: Interruptions) -> None:
        self._interruptions = interruptions
        self._daemons: list[Daemon] = []

    def start(self, name: str, command: Sequence[str], log: Path) -> Daemon:
        """Start a daemon whose output goes to the file `log`."""
        with self._interruptions.held(), log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(),
                start_new_session=True,
            )
            daemon = Daemon(name, process, log)
            self._daemons.append(daemon)
        return daemon

    def wait(self, condition: Callable[[], Value | None], what: str, deadline_s: float) -> Value:
        """Return the first true value of `condition`. Raises PushmirrorError when there is none, or a daemon ends."""
        end_s = time.monotonic() + deadline_s
        while True:
            late = time.monotonic() >= end_s
            value = condition()
            if value:
                return value
            self.check()
            if late:
                logs = "\n".join(daemon.log_tail() for daemon in self._daemons)
                raise PushmirrorError(f"{what}: not within {deadline_s:.0f} s\n{logs}")
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raises PushmirrorError with the log of a daemon that has ended by itself."""
        for daemon in self._daemons:
            code = daemon.process.poll()
            if code is not None:
                raise PushmirrorError(f"{daemon.name} ended by itself (exit code {code})\n{daemon.log_tail()}")

    def stop(self) -> None:
        """End all of them, the last started first, and whatever is left in their process groups."""
        for daemon in reversed(self._daemons):
            _signal_group(daemon, signal.SIGTERM)
        end_s = time.monotonic() + _STOP_S
        for daemon in reversed(self._daemons):
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.process.wait(max(0.0, end_s - time.monotonic()))
            if daemon.process.poll() is None:
                _signal_group(daemon, signal.SIGKILL)
                daemon.process.wait()
        self._daemons.clear()


def _signal_group(daemon: Daemon, number: int) -> None:
    # Once it is reaped, its number may belong to somebody else.
    if daemon.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.process.pid, number)


def run_command(command: Sequence[str], stdin: bytes = b"", deadline_s: float = 120) -> bytes:
    """Run a program to its end and return what it printed. Raises PushmirrorError when it fails or hangs."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, env=clean_environment(), timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PushmirrorError(f"{' '.join(command)} did not end within {deadline_s:.0f} s") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise PushmirrorError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change rsync or the daemons; children find the same pushmirror."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RSYNC_", "NOTIFY_", "WATCHDOG_"))}
    here = str(Path(pushmirror.__file__).resolve().parents[1])
    paths = [here, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(paths)}
