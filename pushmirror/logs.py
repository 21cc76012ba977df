"""Logs: one event per line on standard error, in a form that bytes from a stranger cannot forge or break."""

from __future__ import annotations

import functools
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from pushmirror.errors import UsageError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MAX_LINE_CHARACTERS = 16 * 1024

# Control characters, line and paragraph separators, characters that reorder text, and lone surrogates.
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# These tell of every command, connection or factory, which is of use to developers only.
_CHATTY = ("twisted", "sh", "urllib3", "fedmsg")


def escape(text: str) -> str:
    """`text` as it may stand in a line: what would end, reorder or erase it is written as a Python escape."""
    return _DANGEROUS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class OneLineFormatter(logging.Formatter):
    """``2026-11-22T13:24:41.123Z INFO pushmirror.subscriber.jobs: text``, tracebacks folded in with `` | ``."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = f"{seconds}.{int(record.msecs):03d}Z {record.levelname} {record.name}: {_render(record)}"
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text} | {_fold(self.formatException(record.exc_info))}"
        if record.stack_info:
            text = f"{text} | {_fold(record.stack_info)}"
        return _shorten(escape(text))


def _render(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg!r} (arguments that do not fit: {record.args!r})"


def _fold(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())


def _shorten(text: str) -> str:
    """A line of bounded length: the beginning tells who speaks, the end of a traceback tells what failed."""
    surplus = len(text) - MAX_LINE_CHARACTERS
    if surplus <= 0:
        return text
    half = MAX_LINE_CHARACTERS // 2
    return f"{text[:half]} ...({surplus} characters left out)... {text[-half:]}"


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable in Python 3.10
    """Marks the handler that is ours, so that configuring twice does not log twice."""


def configure(level: str = "info") -> None:
    """Send all logs of `level` and above to standard error. UsageError for a level that does not exist."""
    if level not in LEVELS:
        raise UsageError(f"there is no log level {level!r}; choose one of: {', '.join(LEVELS)}")
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StderrHandler)]:
        root.removeHandler(handler)
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter())
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else max(LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)


@functools.cache
def bridge_twisted() -> None:
    """Send Twisted's own log, errors that nobody handled included, the same way, as the logger ``twisted``."""
    from twisted.logger import STDLibLogObserver, globalLogBeginner

    observer: Any = STDLibLogObserver(name="twisted")
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


class Throttle:
    """Lets one line per cause and `every_ms` through and counts the others. Causes beyond `max_causes` share one."""

    def __init__(self, clock_ms: Callable[[], int], every_ms: int = 60_000, *, max_causes: int = 256) -> None:
        self._clock_ms = clock_ms
        self._every_ms = every_ms
        self._max_causes = max_causes
        self._last_ms: dict[str, int] = {}
        self._suppressed: dict[str, int] = {}

    def allow(self, cause: str) -> int | None:
        """How many lines of this cause were suppressed since the last one, when one may be logged now; else None."""
        now_ms = self._clock_ms()
        if cause not in self._last_ms:
            cause = self._make_room(cause, now_ms)
        last_ms = self._last_ms.get(cause)
        if last_ms is not None and 0 <= now_ms - last_ms < self._every_ms:
            self._suppressed[cause] = self._suppressed.get(cause, 0) + 1
            return None
        self._last_ms[cause] = now_ms
        return self._suppressed.pop(cause, 0)

    def _make_room(self, cause: str, now_ms: int) -> str:
        """The name to keep a new cause under: its own, or the shared one when all places hold recent causes."""
        if len(self._last_ms) < self._max_causes:
            return cause
        for known, last_ms in list(self._last_ms.items()):
            if now_ms - last_ms >= self._every_ms:
                del self._last_ms[known]
                self._suppressed.pop(known, None)
        return cause if len(self._last_ms) < self._max_causes else ""
