"""What ``pushmirror tail`` makes of the bus: a line for each message, in which no stranger passes for somebody else."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fuzz.harness import Believed
from fuzz.meaning import KINDS, examples
from fuzz.parties import (
    ENVIRONMENT,
    NODE,
    NOW_MS,
    PINNED,
    PREFIX,
    PUBLISHER,
    RELAY,
    compose_message,
    forge,
    sign_as_stranger,
)
from pushmirror.core.messages import topic
from pushmirror.logs import escape
from pushmirror.monitor.follow import Arrival
from pushmirror.monitor.hearing import Trust, Voice, hear
from pushmirror.monitor.lines import format_json, format_line

_TOPICS = tuple(topic(PREFIX, ENVIRONMENT, kind).encode() for kind in KINDS)
_VOICE = Voice(
    PUBLISHER, topic(PREFIX, ENVIRONMENT, ""), (PINNED.public,), {NODE: PINNED.public}, {RELAY: (PINNED.public,)}
)


def check(data: bytes) -> None:
    """Show `data` without its first byte, which chooses the topic; the last choice is no topic, as for a file."""
    number, body = data[0] if data else 0, data[1:]
    heard = hear((*_TOPICS, None)[number % (len(_TOPICS) + 1)], body, [_VOICE])
    if heard.trust is Trust.VERIFIED:
        raise Believed("a message is shown as verified that nobody has signed")
    arrival = Arrival(NOW_MS, heard)
    line, told = format_line(arrival), format_json(arrival)
    assert escape(line) == line, "a message has put something into the line that could forge another"
    assert "\n" not in told and json.loads(told)["verified"] is False


def seeds() -> Iterable[bytes]:
    """Yield each kind of message in its topic: by a stranger, forged, unsigned, and with odd texts."""
    for kind, msg in examples():
        number = list(KINDS).index(kind).to_bytes(1, "big")
        yield number + sign_as_stranger(kind, msg)
        yield number + forge(kind, msg)
        yield number + compose_message(kind, msg)
        yield number + sign_as_stranger(kind, dict.fromkeys(msg, "a\n\x1b[2J\u202e"))
        yield number + sign_as_stranger(kind, dict.fromkeys(msg, 2**63))
        yield number + sign_as_stranger(kind, {key: [value] for key, value in msg.items()})
    yield bytes([len(KINDS)]) + sign_as_stranger("x\ny", {"tree": {}})
