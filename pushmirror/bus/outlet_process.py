"""Starts the process that holds the publishing socket, and speaks with it without ever waiting for it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pushmirror
from pushmirror.bus.outlet import OutletSettings
from pushmirror.bus.packets import MAX_PACKET_BYTES, pack_end, unpack_news

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""So much waits for a process that does not take it; what comes then is dropped."""
END_SECONDS = 1.0
_SOURCES = str(Path(pushmirror.__file__).parents[1])


class OutletProcess:
    """One run of the process. Sending and reading never wait; `lost` tells that it has ended, or does not answer."""

    def __init__(self, listening: socket.socket, **settings: Any) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self.lost = False
        with theirs, _in_memory(OutletSettings(theirs.fileno(), listening.fileno(), **settings).dump()) as told:
            try:
                self._process = _start(told, (theirs.fileno(), listening.fileno()))
            except OSError:
                self._control.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def reap(self) -> None:
        """Have the kernel forget it, when it has ended."""
        self._process.poll()

    def fileno(self) -> int:
        return self._control.fileno()

    @property
    def waits(self) -> bool:
        """Whether something is queued until the process has taken what came before."""
        return bool(self._queue)

    def send(self, packet: bytes) -> bool:
        """Hand one packet over, now or when there is room. False: it was dropped, because too much waits."""
        if self._queued_bytes + len(packet) > MAX_QUEUED_BYTES:
            return False
        self._queue.append(packet)
        self._queued_bytes += len(packet)
        self.flush()
        return True

    def flush(self) -> None:
        """Hand over as much as there is room for."""
        while self._queue and not self.lost:
            try:
                self._control.send(self._queue[0])
            except BlockingIOError:
                return
            except OSError:
                self.lost = True
                return
            self._queued_bytes -= len(self._queue.popleft())

    def read(self) -> Mapping[str, Any] | None:
        """Return what the process tells, None when that is nothing, or when it is `lost`."""
        try:
            packet = self._control.recv(MAX_PACKET_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            packet = b""
        with contextlib.suppress(ValueError):
            if packet:
                return unpack_news(packet)
        self.lost = True
        return None

    def kill(self) -> None:
        """End it at once. That may take a while, for one that has much memory: `reap` it later."""
        self._control.close()
        self._process.kill()

    def end(self) -> None:
        """Let it send what is queued and end; after a second it is killed."""
        with contextlib.suppress(OSError):
            self._control.settimeout(END_SECONDS)
            for packet in (*self._queue, pack_end()):
                self._control.send(packet)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.kill()
        self._process.wait()


def _start(told: IO[bytes], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pushmirror.bus.outlet"],
        stdin=told,
        stdout=subprocess.DEVNULL,
        # What a stranger can make libzmq say would be no line of a log.
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        cwd="/",
        env={**os.environ, "PYTHONPATH": _SOURCES},
    )


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[IO[bytes]]:
    """A file that exists nowhere, with `data`: unlike arguments and environment, nobody else gets to see it."""
    with open(os.memfd_create("outlet"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file
