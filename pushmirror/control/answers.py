"""From a request line to an answer line: finds the handler, runs it, and puts every failure into words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from pushmirror.control.limits import MAX_ANSWER_BYTES
from pushmirror.errors import PushmirrorError

_log = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], "dict[str, Any] | Deferred[dict[str, Any]]"]


def refuse(text: str, code: int = 1) -> bytes:
    """An answer line that declines; `code` is what the asking command ends with."""
    return json.dumps({"ok": False, "error": text, "code": code}).encode("ascii") + b"\n"


def answer_line(handlers: Mapping[str, Handler], line: bytes) -> Deferred[bytes]:
    """The answer line to a request line. The Deferred never fails: whatever goes wrong is an answer too."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        return succeed(refuse('a request is one line of JSON: {"command": "status"}', code=2))
    handler = handlers.get(request["command"])
    if handler is None:
        known = ", ".join(sorted(handlers))
        text = f"this daemon does not know the command {request['command']!r:.60}, only: {known}"
        return succeed(refuse(text, code=2))
    answered: Deferred[Any] = maybeDeferred(handler, request)
    return answered.addCallback(_encode).addErrback(_explain, request["command"])


def _encode(answer: Mapping[str, Any]) -> bytes:
    line = json.dumps({**answer, "ok": True}, allow_nan=False).encode("ascii") + b"\n"
    if len(line) > MAX_ANSWER_BYTES:
        return refuse("the answer is too large; ask for one tree at a time")
    return line


def _explain(failure: Failure, command: str) -> bytes:
    error = failure.value
    if isinstance(error, PushmirrorError):
        return refuse(str(error), error.exit_code)
    _log.error("the control command %s failed", command, exc_info=error)
    return refuse("internal error, see the log of the daemon")
