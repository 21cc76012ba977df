"""ZeroMQ sockets with the options that a publisher and a subscriber need, and the reasons for them."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from pushmirror.bus.encryption import ClientCurve
from pushmirror.errors import UsageError

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
# Clients send the publisher nothing but the greeting, subscriptions and heartbeats.
MAX_CLIENT_MESSAGE_BYTES = 512

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_DOMAIN = b"pushmirror"


def check_curve(has_curve: bool) -> None:
    """Raises UsageError when this machine's ZeroMQ cannot encrypt; `has_curve` is what ``zmq.has("curve")`` tells."""
    if not has_curve:
        advice = "install pyzmq from a wheel, or libzmq with libsodium, or remove `curve` from the settings"
        raise UsageError(f"ZeroMQ was built without encryption (CURVE) here; {advice}")


def serve_encrypted(socket: Socket, secret: bytes, *, ask: bool) -> None:
    """Have a socket that is to be bound take encrypted connections only; `ask` whoever opened a door about each."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    if ask:
        socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def open_door(context: Context) -> Socket:
    """The socket at which ZeroMQ asks, for each client of this context, whether it may come in."""
    socket = context.socket(zmq.REP)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(_ZAP_ENDPOINT)
    return socket


def open_publishing(context: Context) -> Socket:
    """A publishing socket, not bound yet: XPUB, which is PUB that tells of each subscription as it takes effect."""
    socket = _open(context, zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.LINGER, SENDER_LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_CLIENT_MESSAGE_BYTES)
    return socket


def open_subscribing(
    context: Context, topics: Sequence[bytes], max_message_bytes: int, ipv6: bool, curve: ClientCurve | None = None
) -> Socket:
    """A SUB socket with its subscriptions, not connected yet; `ipv6` chooses the address family of host names."""
    socket = _open(context, zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    socket.setsockopt(zmq.IPV6, int(ipv6))
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    if curve is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    return socket


def _open(context: Context, kind: int) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    return socket
