"""A bad network for one port: connections are cut in the middle, stand still, or swallow what is put into them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_BLOCK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes connections on to `target`, a port of this machine, in a ``with`` block.

    `cut_after_bytes` is asked for each connection after how many bytes of the answer it is cut off (None: never).
    """

    def __init__(
        self, target: int, *, host: str = "127.0.0.1", cut_after_bytes: Callable[[], int | None] = lambda: None
    ) -> None:
        self.cuts = 0
        """How many connections were cut off in the middle of an answer."""
        self._target = target
        self._cut_after_bytes = cut_after_bytes
        self._listening = socket.create_server((host, 0))
        self.port: int = self._listening.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._links: list[_Link] = []
        self._ending = False
        self._thread = threading.Thread(target=self._accept, name=f"proxy of port {target}", daemon=True)

    def __enter__(self) -> TcpProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending = True
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.cut()
        for link in self._links:
            link.join()

    def cut(self) -> None:
        """Reset every connection that there is."""
        for link in self._links:
            link.reset()

    def swallow(self) -> None:
        """Let what is sent on the connections that there are vanish, while they look healthy; new ones work.

        That is what a firewall does which has forgotten its connections.
        """
        for link in self._links:
            link.swallows = True

    def hold(self) -> None:
        """Let everything stand still, new connections too, until `release`."""
        self._flows.clear()

    def release(self) -> None:
        """Let everything flow again; nothing was lost."""
        self._flows.set()

    def _accept(self) -> None:
        while not self._ending:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self._links = [link for link in self._links if link.is_alive]
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                _close_with_reset(near)
                continue
            far.settimeout(None)
            self._links.append(_Link(near, far, self._flows, self._cut_after_bytes(), self._count_cut))

    def _count_cut(self) -> None:
        self.cuts += 1


class _Link:
    """One connection through the proxy: two threads, one for each direction."""

    def __init__(
        self,
        near: socket.socket,
        far: socket.socket,
        flows: threading.Event,
        cut_after_bytes: int | None,
        cut: Callable[[], None],
    ) -> None:
        self.swallows = False
        self._near, self._far = near, far
        self._flows = flows
        self._left_bytes = cut_after_bytes
        self._cut = cut
        self._threads = [
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True),
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether any direction is still open."""
        return any(thread.is_alive() for thread in self._threads)

    def reset(self) -> None:
        """Break both ends off."""
        for end in (self._near, self._far):
            _close_with_reset(end)

    def join(self) -> None:
        """Return when nothing of it runs any more."""
        for thread in self._threads:
            thread.join()

    def _pump(self, giver: socket.socket, taker: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := giver.recv(_BLOCK_BYTES):
                self._flows.wait()
                if self.swallows:
                    continue
                if answers and self._is_enough(data):
                    taker.sendall(data[: self._left_bytes])
                    self._cut()
                    self.reset()
                    return
                taker.sendall(data)
            if not self.swallows:
                taker.shutdown(socket.SHUT_WR)

    def _is_enough(self, data: bytes) -> bool:
        if self._left_bytes is None:
            return False
        if len(data) > self._left_bytes:
            return True
        self._left_bytes -= len(data)
        return False


def _close_with_reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    end.close()
