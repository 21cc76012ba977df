"""Writes an answer piece by piece, no faster than the client reads it; one that stops reading is cut off."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

_log = logging.getLogger(__name__)

TURN_BYTES = 64 * 1024
"""Written in one turn of the reactor, before others have theirs."""

STALL_SECONDS = 60.0
"""A client that has read nothing for so long is disconnected."""


class Stream:
    """Feeds `chunks` to a request (an IPushProducer, which the transport pauses while its buffer is full)."""

    def __init__(self, reactor: Any, request: Any, chunks: Iterator[bytes]) -> None:
        self._reactor = reactor
        self._request = request
        self._chunks = chunks
        self._paused = True
        self._writing: Any = None
        self._stalling: Any = None

    def start(self) -> None:
        """Begin to write; the request is finished at the end."""
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        self._cancel()
        self._writing = self._reactor.callLater(0, self._write)

    def pauseProducing(self) -> None:
        self._paused = True
        self._cancel()
        self._stalling = self._reactor.callLater(STALL_SECONDS, self._cut_off)

    def stopProducing(self) -> None:
        """The client has gone."""
        self._paused = True
        self._cancel()

    def _cancel(self) -> None:
        for call in (self._writing, self._stalling):
            if call is not None and call.active():
                call.cancel()

    def _write(self) -> None:
        written_bytes = 0
        try:
            while not self._paused and written_bytes < TURN_BYTES:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self._finish()
                    return
                self._request.write(chunk)
                written_bytes += len(chunk)
        except Exception:
            # The status line is out: only a connection that breaks off tells the client that this is not all.
            _log.exception("an answer could not be completed")
            self._cut_off()
            return
        if not self._paused:
            self._writing = self._reactor.callLater(0, self._write)

    def _finish(self) -> None:
        self._paused = True
        self._request.unregisterProducer()
        self._request.finish()

    def _cut_off(self) -> None:
        self.stopProducing()
        self._request.transport.abortConnection()
