"""What a daemon and the process of its bus say to each other: one packet of a local socket for each message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_PACKET_BYTES = 192 * 1024
"""Below what the kernel takes as one packet where nobody has set another limit."""
MAX_TOPIC_BYTES = 255

_MESSAGE, _END = b"M", b"E"
_HEAD_BYTES = 2


def pack_message(topic: bytes, body: bytes) -> bytes:
    """Return the packet with a message to be sent. Raises ValueError for one that does not fit into a packet."""
    packet = b"".join((_MESSAGE, bytes((len(topic[: MAX_TOPIC_BYTES + 1]) & 0xFF,)), topic, body))
    if len(topic) > MAX_TOPIC_BYTES or len(packet) > MAX_PACKET_BYTES:
        raise ValueError(f"a topic has at most {MAX_TOPIC_BYTES} bytes, a message {MAX_PACKET_BYTES} with its topic")
    return packet


def pack_end() -> bytes:
    """Return the packet after which there are no more: what is still queued is sent, as long as it may linger."""
    return _END


def unpack_message(packet: bytes) -> tuple[bytes, bytes] | None:
    """Return topic and body, None for the end."""
    if packet[:1] != _MESSAGE:
        return None
    body_start = _HEAD_BYTES + packet[1]
    return packet[_HEAD_BYTES:body_start], packet[body_start:]


def pack_news(news: Mapping[str, Any]) -> bytes:
    """Return the packet by which the process tells what has happened."""
    return json.dumps(news).encode()


def unpack_news(packet: bytes) -> Mapping[str, Any]:
    """Return what the process tells. It reads what strangers send, so nothing is taken for granted but its form.

    Raises ValueError when that is not kept.
    """
    news = json.loads(packet)
    if not isinstance(news, dict):
        raise ValueError("not an object")
    return news
