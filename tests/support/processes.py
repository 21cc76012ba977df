"""Programs run as separate processes by tests: started, waited for, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.waiting import NeverHappened, Value, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
PUSHMIRROR = (sys.executable, "-m", "pushmirror")
LOG_TAIL_LINES = 60


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what would change the outcome, and with the checkout importable."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RSYNC_", "NOTIFY_", "WATCHDOG_"))
    }
    return {**kept, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **(extra or {})}


def run_pushmirror(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    working_directory: Path | None = None,
    stdin: bytes = b"",
    deadline_seconds: float = 30,
) -> subprocess.CompletedProcess[bytes]:
    """Run one client command to its end; return its exit code, stdout and stderr. Nothing is raised for a failure."""
    return subprocess.run(
        [*PUSHMIRROR, *(str(argument) for argument in arguments)],
        env=clean_environment(environment),
        cwd=working_directory,
        input=stdin,
        capture_output=True,
        timeout=deadline_seconds,
        check=False,
    )


class Program:
    """A program in a session of its own, whose output goes to `log_path`; ended when the `with` block is left.

    `arguments` are those of ``pushmirror`` unless `command` names another program. When the block is left by an
    exception, the end of the log is printed, so that the failing test shows it.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
        command: Sequence[str] = PUSHMIRROR,
    ) -> None:
        self.arguments = [*command, *(str(argument) for argument in arguments)]
        self.log_path = log_path
        self._environment = clean_environment(environment)
        self._working_directory = working_directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Program:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.running:
            with contextlib.suppress(NeverHappened):
                self.terminate(deadline_seconds=5)
        self.kill()
        if error is not None:
            print(self.log_tail(), file=sys.stderr)

    def start(self) -> None:
        """Start it; the log is appended to, so that a second start keeps the first one's output."""
        assert not self.running, f"{self.arguments} is already running as {self.pid}"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._working_directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id; it must have been started."""
        assert self._process is not None, f"{self.arguments} was not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log_text(self) -> str:
        """Return all that it has written so far; bytes that are not UTF-8 are shown escaped."""
        return self.log_path.read_bytes().decode("utf-8", "backslashreplace") if self.log_path.exists() else ""

    def log_tail(self) -> str:
        """Return the last lines of the log under a heading that names the program."""
        lines = self.log_text().splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"--- {' '.join(self.arguments)} (exit code {self.exit_code}):", *lines])

    def wait_for_line(self, text: str, *, after: int = 0, deadline_seconds: float = 10) -> str:
        """Return the first log line that contains `text`, of those that begin at or after character `after`.

        Fails at once when the program has ended without writing it, and otherwise at the deadline.
        """

        def line() -> str | None:
            ended = not self.running
            found = next((line for line in self.log_text()[after:].splitlines() if text in line), None)
            if found is None and ended:
                raise NeverHappened(f"the program ended without writing {text!r}\n{self.log_tail()}")
            return found

        return self._wait(line, what=f"a log line with {text!r}", deadline_seconds=deadline_seconds)

    def wait_for_socket(self, path: Path, *, deadline_seconds: float = 10) -> None:
        """Return when `path` is a socket; fails at once when the program ends before."""

        def is_there() -> bool:
            if not self.running:
                raise NeverHappened(f"the program ended without making {path}\n{self.log_tail()}")
            return path.is_socket()

        self._wait(is_there, what=f"the socket {path}", deadline_seconds=deadline_seconds)

    def wait(self, *, deadline_seconds: float = 10) -> int:
        """Return its exit code once it has ended by itself."""
        assert self._process is not None, f"{self.arguments} was not started"
        try:
            return self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise NeverHappened(f"still running after {deadline_seconds:g} s\n{self.log_tail()}") from None

    def terminate(self, *, deadline_seconds: float = 10) -> int:
        """Send SIGTERM and return the exit code; fails when it has not ended by the deadline."""
        self.send(signal.SIGTERM)
        return self.wait(deadline_seconds=deadline_seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone (not to its children); nothing when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it by SIGKILL, together with the children that stayed in its process group, and reap it."""
        if self._process is None or not self.running:  # once reaped, the id may belong to somebody else
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_alone(self) -> None:
        """End the process by SIGKILL and reap it, leaving its children alive, as the kernel's OOM killer would."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _wait(self, condition: Callable[[], Value | None], *, what: str, deadline_seconds: float) -> Value:
        try:
            return wait_until(condition, what=what, deadline_seconds=deadline_seconds)
        except NeverHappened as error:
            raise NeverHappened(f"{error}\n{self.log_tail()}") from None
