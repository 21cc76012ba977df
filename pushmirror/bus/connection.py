"""Watches the connection of a connecting ZeroMQ socket: whether there is one, why not, and what comes in on it.

ZeroMQ repairs a connection that breaks, but gives up for good, and silently, after a peer that broke the protocol: one
frame above the size limit, or one answer from a program that does not speak ZeroMQ. And it keeps what it has of a
message until the message is whole, however long that is. So somebody has to look.
"""

from __future__ import annotations

import contextlib
import socket as sockets
import struct

import zmq

from pushmirror.bus.sockets import Socket

BROKEN_GREETING = (
    "the other side breaks off the greeting: one of the two does not speak CURVE, or `curve` here is not its key; "
    "a network that was cut at that moment looks the same, once"
)
NOT_LISTED = "the other side does not let this node listen: its CURVE key is not in the authorized_nodes there"

_EVENT = struct.Struct("=HI")
_GREETED = zmq.EVENT_HANDSHAKE_SUCCEEDED
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_BROKEN_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_WATCHED = zmq.EVENT_CONNECTED | _GREETED | _REFUSED | _BROKEN_OFF | zmq.EVENT_DISCONNECTED

# Where Linux has tcpi_bytes_received in its struct tcp_info.
_RECEIVED_AT = 128
_RECEIVED = struct.Struct("=Q")


class ConnectionWatch:
    """Has to be made before the socket connects, and closed before the socket is."""

    def __init__(self, socket: Socket) -> None:
        self._watched = socket
        self._events: Socket = socket.get_monitor_socket(_WATCHED)
        self._connected = False
        self._descriptor: int | None = None
        self._fault: str | None = None

    def is_connected(self) -> bool:
        """Whether the peer has greeted us and the connection has not ended since."""
        self._follow()
        return self._connected

    def fault(self) -> str | None:
        """Why the peer was not greeted the last time, None when it was, or could not even be reached."""
        self._follow()
        return self._fault

    def received_bytes(self) -> int:
        """How many bytes have come in on the connection that there is; 0 without one, or where the kernel cannot tell.

        It is ZeroMQ's own connection, which may end at any moment: what is told is a hint.
        """
        self._follow()
        if self._descriptor is None:
            return 0
        with contextlib.suppress(OSError):
            connection = sockets.socket(fileno=self._descriptor)
            try:
                found = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _RECEIVED_AT + _RECEIVED.size)
            finally:
                connection.detach()
            if len(found) >= _RECEIVED_AT + _RECEIVED.size:
                return int(_RECEIVED.unpack_from(found, _RECEIVED_AT)[0])
        return 0

    def _follow(self) -> None:
        while self._events.poll(0):
            event, value = _EVENT.unpack(self._events.recv_multipart()[0])
            self._connected = event == _GREETED
            if event == zmq.EVENT_CONNECTED:
                self._descriptor = value
            elif event == zmq.EVENT_DISCONNECTED:
                self._descriptor = None
            elif event == _GREETED:
                self._fault = None
            else:
                self._fault = NOT_LISTED if event == _REFUSED else BROKEN_GREETING

    def close(self) -> None:
        self._watched.disable_monitor()
        self._events.close(0)
