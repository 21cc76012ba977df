"""One line of output per message: for people, or one canonical JSON object for machines."""

from __future__ import annotations

from pushmirror.core.wire import canonical
from pushmirror.logs import escape
from pushmirror.monitor.follow import Arrival
from pushmirror.monitor.hearing import Heard, Trust
from pushmirror.monitor.quantities import format_time
from pushmirror.monitor.text import describe

_MARK = "?"
_MAX_TOPIC_CHARACTERS = 120


def format_line(arrival: Arrival) -> str:
    """Return a message as a readable line; one that is not verified carries a question mark and the reason."""
    heard = arrival.heard
    mark = " " if heard.trust is Trust.VERIFIED else _MARK
    line = f"{format_time(arrival.at_ms)} {mark} {_tell(heard)}"
    return line if heard.fault is None else f"{line} [{heard.trust.value}: {escape(heard.fault)}]"


def _tell(heard: Heard) -> str:
    if heard.kind is None or not heard.msg:
        return f"a message under {escape(heard.topic[:_MAX_TOPIC_CHARACTERS])}"
    return describe(heard.kind, heard.msg)


def format_json(arrival: Arrival) -> str:
    """Return a message as one line of canonical JSON; ``envelope`` is the message as it was sent, null if it was none.

    ``verified`` is true only for a message whose signature and content are right; otherwise ``fault`` says what is not.
    """
    heard = arrival.heard
    value = {
        "received_ms": arrival.at_ms,
        "kind": heard.kind,
        "verified": heard.trust is Trust.VERIFIED,
        "signer": heard.signer,
        "fault": heard.fault,
        "topic": heard.topic,
        "envelope": heard.raw,
    }
    try:
        return canonical(value).decode("ascii")
    except (ValueError, RecursionError):
        return canonical({**value, "envelope": None}).decode("ascii")
