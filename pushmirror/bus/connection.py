"""Watches whether a connecting ZeroMQ socket has its connection.

ZeroMQ repairs a connection that breaks, but gives up for good, and silently, after a peer that broke the protocol: one
frame above the size limit, or one answer from a program that does not speak ZeroMQ. So somebody has to look.
"""

from __future__ import annotations

import struct

import zmq

from pushmirror.bus.sockets import Socket

_EVENT = struct.Struct("=HI")


class ConnectionWatch:
    """Has to be made before the socket connects, and closed before the socket is."""

    def __init__(self, socket: Socket) -> None:
        self._watched = socket
        self._events: Socket = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._connected = False

    def is_connected(self) -> bool:
        """Whether the peer has greeted us and the connection has not ended since."""
        while self._events.poll(0):
            event, _ = _EVENT.unpack(self._events.recv_multipart()[0])
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return self._connected

    def close(self) -> None:
        self._watched.disable_monitor()
        self._events.close(0)
