"""One rsync run: started through `sh`, watched against its limits, ended with its whole process group.

`sh` is told not to open pseudo-terminals, not to raise on exit codes and to give rsync a session of its own; input and
output are real files, so that no thread of `sh` touches them, and the end of the process is seen through a descriptor
of it in the reactor, because `sh` itself only looks once a second. The tree's lock is inherited by every rsync process:
while one of them lives, however the daemon ended, nobody else gets the lock.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sh
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from pushmirror.core.command import Command
from pushmirror.core.exits import Judgement, Outcome, judge_exit
from pushmirror.core.model import StageKind
from pushmirror.core.output import Items, Notes, has_clash, parse_items, parse_notes
from pushmirror.core.progress import Progress, parse_progress
from pushmirror.core.source import Source
from pushmirror.core.watchdog import Limits, Sample, Watchdog
from pushmirror.errors import StateError
from pushmirror.subscriber.confinement import start_confined
from pushmirror.subscriber.environment import clean_environment
from pushmirror.subscriber.process_group import ProcessGroup

_WATCH_EVERY_S = 0.5
_KILL_AFTER_S = 5.0
_CLASH_PATIENCE_S = 5.0
"""rsync 3.5.0 may wait for ever after it could not make way for a file that has other names."""
_TAIL_BYTES = 4096
_LONGEST_LINE_BYTES = 64 * 1024
_NAME_TAKES_BYTES = 320
"""What a printed name takes beside its bytes, in the sets that it is in; measured."""
_ANY_CODE = tuple(range(256))
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


@dataclass(frozen=True)
class RunResult:
    """How a run ended and what it told."""

    code: int
    items: Items
    notes: Notes
    judgement: Judgement


class Runner:
    """Runs rsync. `program` is its name or path; `folder` holds each run's input and output while it lasts.

    If it is `confined`, and the kernel can do that, it can write in the folders that each run names and nowhere else.
    """

    def __init__(
        self, reactor: Any, program: str, folder: Path, environment: Mapping[str, str], *, confined: bool = True
    ) -> None:
        self._confined = confined
        self._reactor = reactor
        self._folder = folder
        self._environment = clean_environment(environment)
        self._running: dict[str, _Run] = {}
        self._closed_because: str | None = None
        try:
            self._program = sh.Command(program)
        except sh.CommandNotFound as error:
            raise StateError(f"there is no program {program!r}: install rsync, or name it in `rsync:`") from error

    async def run(
        self,
        tree: str,
        kind: StageKind,
        command: Command,
        source: Source,
        limits: Limits,
        lock: int,
        writable: Sequence[str] = (),
    ) -> RunResult:
        """Run `command` for `tree`; at most one runs per tree. `lock` is the descriptor that rsync inherits, `writable`
        are the folders that it writes to, the tree's own first."""
        if self._closed_because is not None:
            ended = Judgement(Outcome.RETRY, self._closed_because)
            return RunResult(-signal.SIGTERM, Items(), Notes(), ended)
        folder = self._folder / tree
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = _Run(self._reactor, self._program, self._environment, folder, command, limits, writable)
        run.confined = self._confined and bool(writable)
        self._running[tree] = run
        try:
            code = await run.start(lock)
        finally:
            del self._running[tree]
        items, notes = Items(), Notes()
        if not run.printed_too_much:
            pool = self._reactor.getThreadPool()
            try:
                items, notes = await deferToThreadPool(self._reactor, pool, _parse, folder, source, limits.memory_bytes)
            except _TooMuchToRead:
                run.ended_because = run.ended_because or "what rsync printed takes more than `memory_limit` to be read"
        judgement = judge_exit(kind, code, notes)
        if run.ended_because is not None:
            # A limit that was passed may be the source's doing; the end of this daemon is not.
            outcome = Outcome.FULL if run.ran_out_of_room else judge_exit(kind, -signal.SIGTERM, notes).outcome
            of_source = self._closed_because is None and not run.ran_out_of_room
            judgement = Judgement(outcome, run.ended_because, of_source=of_source)
        return RunResult(code, items, notes, judgement)

    def progress(self, tree: str) -> Progress | None:
        """Return how far the run of `tree` is, or None when there is none or it has not told yet."""
        return self._running[tree].told if tree in self._running else None

    def stop(self, tree: str, reason: str) -> None:
        """End the run of `tree`, if there is one."""
        if tree in self._running:
            self._running[tree].end(reason)

    def close(self, reason: str) -> None:
        """End every run, and start no more: a job may just be between two of them."""
        self._closed_because = reason
        for run in self._running.values():
            run.end(reason)


def _parse(folder: Path, source: Source, memory_bytes: int | None) -> tuple[Items, Notes]:
    with (folder / "output").open("rb") as output, (folder / "messages").open("rb") as messages:
        return parse_items(_read_lines(output, memory_bytes)), parse_notes(_read_lines(messages, memory_bytes), source)


def _read_lines(stream: IO[bytes], memory_bytes: int | None) -> Iterator[bytes]:
    """Yield the lines of `stream`. Raises _TooMuchToRead when what is made of them would take that much memory.

    The other side can have rsync print names without end, which take no memory of rsync's own.
    """
    left_bytes = sys.maxsize if memory_bytes is None else memory_bytes
    while line := stream.readline(_LONGEST_LINE_BYTES):
        left_bytes -= len(line) + _NAME_TAKES_BYTES
        if left_bytes < 0:
            raise _TooMuchToRead
        yield line


class _TooMuchToRead(Exception):
    """A run has printed so many names that they would fill the memory of the daemon."""


class _Run:
    def __init__(
        self,
        reactor: Any,
        program: sh.Command,
        environment: dict[str, str],
        folder: Path,
        command: Command,
        limits: Limits,
        writable: Sequence[str],
    ) -> None:
        self._reactor = reactor
        self._program = program
        self._environment = environment
        self._folder = folder
        self._command = command
        self._limits = limits
        self._writable = writable
        self._ended: Deferred[int] = Deferred()
        self._watch = LoopingCall(self._check)
        self._watch.clock = reactor
        self._kill: Any = None
        self._pid = 0
        self._process: Any = None
        self._end_of_process: Any = None
        self._watchdog = Watchdog(limits, reactor.seconds())
        self._group = ProcessGroup(0)
        self.confined = False
        self.ended_because: str | None = None
        self.printed_too_much = False
        self.ran_out_of_room = False
        self.told: Progress | None = None

    def start(self, lock: int) -> Deferred[int]:
        """Start rsync; the result fires with its exit code, negative for a signal."""
        listing = self._folder / "list"
        listing.write_bytes(self._command.listing)
        with (
            listing.open("rb") as given,
            (self._folder / "output").open("wb") as output,
            (self._folder / "messages").open("wb") as messages,
        ):
            try:
                self._spawn(given, output, messages, lock)
            except (OSError, sh.ForkException) as error:
                # What failed in the forked child is only told as text.
                self._signal(signal.SIGKILL)
                missing = isinstance(error, FileNotFoundError) or "FileNotFoundError" in str(error)
                self._ended.callback(_NOT_FOUND if missing else _NOT_EXECUTABLE)
                return self._ended
        if not self._ended.called:
            self._watch.start(_WATCH_EVERY_S, now=False)
        return self._ended

    def _spawn(self, given: IO[bytes], output: IO[bytes], messages: IO[bytes], lock: int) -> None:
        def start() -> Any:
            return self._program(
                *self._command.arguments,
                _in=given,
                _out=output,
                _err=messages,
                _env=self._environment,
                _cwd="/",
                _bg=True,
                _bg_exc=False,
                _new_session=True,
                _new_group=False,
                _ok_code=_ANY_CODE,
                _tty_in=False,
                _tty_out=False,
                _pass_fds={lock},
            )

        running = start_confined(start, self._writable) if self.confined else start()
        self._pid = running.pid
        self._group = ProcessGroup(self._pid)
        self._process = running.process
        try:
            self._end_of_process = _EndOfProcess(self._pid, self._finish)
        except ProcessLookupError:  # it was so quick that a thread of sh has waited for it already
            self._finish()
        else:
            self._reactor.addReader(self._end_of_process)

    def _finish(self) -> None:
        if self._end_of_process is not None:
            self._reactor.removeReader(self._end_of_process)
            self._end_of_process.close()
        # Before it is waited for: until then nobody else can be given the number of the group.
        self._signal(signal.SIGKILL)
        code = int(self._process.wait())
        if self._watch.running:
            self._watch.stop()
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        self._ended.callback(code)

    def end(self, reason: str) -> None:
        """Ask the whole process group to stop, and make it a little later."""
        if self.ended_because is not None:
            return
        self.ended_because = reason
        self._signal(signal.SIGTERM)
        self._kill = self._reactor.callLater(_KILL_AFTER_S, self._signal, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # The group outlives its leader while any rsync of it lives; once empty, its number may mean nothing.
        if not self._pid:
            return
        try:
            os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _check(self) -> None:
        now = self._reactor.seconds()
        self.told = parse_progress(self._tail("output")) or self.told
        self._group.look()
        sample = Sample(
            printed_bytes=sum((self._folder / name).stat().st_size for name in ("output", "messages")),
            moved_bytes=self._group.moved_bytes,
            memory_bytes=self._group.memory_bytes,
            has_begun=self._group.has_forked,
            free_bytes=self._find_room(),
        )
        reason = self._watchdog.judge(sample, now)
        if self._watchdog.quiet_s(now) > _CLASH_PATIENCE_S and has_clash(self._tail("messages")):
            self.end("rsync could not make way for a file, and stopped working")
        elif reason is not None:
            self.printed_too_much = sample.printed_bytes > self._limits.output_bytes
            self.ran_out_of_room = self._watchdog.judge_room(sample) is not None
            self.end(reason)

    def _find_room(self) -> int | None:
        if not (self._limits.floor_bytes and self._writable):
            return None
        found = os.statvfs(self._writable[0])
        return found.f_bavail * found.f_frsize

    def _tail(self, name: str) -> bytes:
        with (self._folder / name).open("rb") as output:
            output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return output.read(_TAIL_BYTES)


@implementer(IReadDescriptor)
class _EndOfProcess:
    """Becomes readable when the process ends (pidfd_open(2))."""

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        self._descriptor = os.pidfd_open(pid)
        self._ended = ended

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "rsync"

    def doRead(self) -> None:
        self._ended()

    def connectionLost(self, reason: object) -> None:
        """The reactor stops; the daemon's stop has ended the process by then."""

    def close(self) -> None:
        os.close(self._descriptor)
