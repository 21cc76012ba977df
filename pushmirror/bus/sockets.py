"""ZeroMQ sockets with the options that a publisher and a subscriber need, and the reasons for them."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

# Without these, a peer that vanished behind a NAT looks connected for hours.
HEARTBEAT_INTERVAL_MS = 10_000
HEARTBEAT_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_MS = 10_000
RECONNECT_MS = 200
RECONNECT_MAX_MS = 10_000
# Per client; messages are shared between the queues of all clients.
SEND_QUEUE_MESSAGES = 2_000
# With the largest message allowed this is 128 MiB; beyond it the publisher's queue fills, then messages are missed.
RECEIVE_QUEUE_MESSAGES = 1_000
# Closing waits this long at most for what is still queued.
SENDER_LINGER_MS = 250
# Clients send the publisher nothing but subscriptions and heartbeats.
MAX_CLIENT_MESSAGE_BYTES = 1_024


def open_publishing(context: Context) -> Socket:
    """A publishing socket, not bound yet: XPUB, which is PUB that tells of each subscription as it takes effect."""
    socket = _open(context, zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.LINGER, SENDER_LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_CLIENT_MESSAGE_BYTES)
    return socket


def open_subscribing(context: Context, topics: Sequence[bytes], max_message_bytes: int, ipv6: bool) -> Socket:
    """A SUB socket with its subscriptions, not connected yet; `ipv6` chooses the address family of host names."""
    socket = _open(context, zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    socket.setsockopt(zmq.IPV6, int(ipv6))
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    return socket


def _open(context: Context, kind: int) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    return socket
