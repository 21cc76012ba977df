"""Writes an answer piece by piece, no faster than the client takes it; one that takes too long is cut off."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from typing import Any

from pushmirror.http.visitors import Visitors

_log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
"""Written in one turn of the reactor, before others have theirs; and what a client has to take in `Limits.stall_s`."""


class Stream:
    """Feeds `chunks` to a request (an IPushProducer, which the transport pauses while its buffer is full)."""

    def __init__(self, reactor: Any, request: Any, chunks: Iterator[bytes], visitors: Visitors) -> None:
        self._reactor = reactor
        self._request = request
        self._pieces = _cut(chunks)
        self._visitors = visitors
        self._limits = visitors.limits
        self._paused = True
        self._writing: Any = None
        self._stalling: Any = None
        self._ending: Any = None

    def start(self) -> None:
        """Begin to write; the request is finished at the end."""
        self._ending = self._reactor.callLater(self._limits.answer_s, self._cut_off)
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        _cancel(self._writing, self._stalling)
        self._writing = self._reactor.callLater(0, self._write)

    def pauseProducing(self) -> None:
        self._paused = True
        _cancel(self._writing, self._stalling)
        self._stalling = self._reactor.callLater(self._limits.stall_s, self._cut_off)

    def stopProducing(self) -> None:
        """The client has gone; what makes the answer is let go."""
        self._paused = True
        self._pieces.close()
        _cancel(self._writing, self._stalling, self._ending)

    def _write(self) -> None:
        written_bytes = 0
        try:
            while not self._paused and written_bytes < PIECE_BYTES:
                piece = next(self._pieces, None)
                if piece is None:
                    self._finish()
                    return
                self._request.write(piece)
                written_bytes += len(piece)
        except Exception:  # the status line is out: only a connection that breaks off tells that this is not all
            if (suppressed := self._visitors.may_tell("answer")) is not None:
                _log.exception("an answer could not be completed (%d more before)", suppressed)
            self._cut_off()
            return
        if not self._paused:
            self._writing = self._reactor.callLater(0, self._write)

    def _finish(self) -> None:
        self.stopProducing()
        self._request.unregisterProducer()
        self._request.finish()

    def _cut_off(self) -> None:
        self.stopProducing()
        self._request.transport.abortConnection()


def _cut(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Yield the same in pieces of one size: each write costs as much as some kilobytes, and updates are shorter."""
    piece = bytearray()
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), PIECE_BYTES):
                piece += chunk[start : start + PIECE_BYTES]
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece[:PIECE_BYTES])
                    del piece[:PIECE_BYTES]
    except Exception:  # passed on
        yield bytes(piece)  # what came before the fault is good
        raise
    if piece:
        yield bytes(piece)


def _cancel(*calls: Any) -> None:
    for call in calls:
        if call is not None and call.active():
            call.cancel()
