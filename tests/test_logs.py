"""One event is one line, whatever is in it; and a cause that repeats is counted instead of logged."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror import logs
from pushmirror.errors import UsageError
from pushmirror.logs import OneLineFormatter, Throttle, configure

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ [\w.]+: ")


def render(message: str, *arguments: object, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("pushmirror.x", logging.INFO, "file.py", 1, message, arguments, exc_info)
    record.created, record.msecs = 1_795_353_881.123, 123.0
    return OneLineFormatter().format(record)


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Puts the process's logging back to what it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def test_the_form_of_a_line() -> None:
    """Time in UTC with milliseconds, level, logger, text."""
    assert render("tree %s has %d", "debian", 3) == "2026-11-22T13:24:41.123Z INFO pushmirror.x: tree debian has 3"


@given(st.text())
def test_no_argument_can_end_or_reorder_a_line(text: str) -> None:
    """Whatever a stranger sends, the result is one printable line that can be encoded."""
    line = render("name %s", text)
    assert LINE.match(line)
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", line)
    line.encode("utf-8")


def test_what_is_dangerous_is_still_told() -> None:
    """Line ends, escapes and bytes that are not UTF-8 appear as Python writes them."""
    assert render("%s", "a\nb\x1b[2J\u202e\udcff é").endswith(": a\\nb\\x1b[2J\\u202e\\udcff é")


def test_tracebacks_are_folded_into_the_line() -> None:
    """Exception, cause and place stand in one line, and a line end in the exception's text forges none."""
    try:
        raise ValueError("first\n2026-11-22T13:24:41.123Z INFO pushmirror.x: forged")
    except ValueError as caught:
        error = caught
    line = render("failed", error=error)
    assert ": failed | Traceback (most recent call last): | File " in line
    assert " | ValueError: first | 2026-11-22T13" in line
    assert len(line.splitlines()) == 1


def test_lines_are_bounded() -> None:
    """Of a very long text the beginning and the end are kept."""
    line = render("%s end", "x" * 1_000_000)
    assert len(line) < logs.MAX_LINE_CHARACTERS + 100
    assert line.startswith("2026-") and line.endswith(" end") and "left out" in line


def test_arguments_that_do_not_fit_are_still_logged() -> None:
    """A wrong format string loses no event and raises nothing."""
    assert "%d items" in render("%d items", "many")


@pytest.mark.usefixtures("untouched_logging")
def test_configuring_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs go to standard error, from the chosen level on; the last configuration counts."""
    configure("debug")
    configure("warning")
    logging.getLogger("pushmirror.x").info("hidden")
    logging.getLogger("pushmirror.x").warning("shown\n")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(LINE.pattern + r"shown\\n\n", captured.err)


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    """The error lists what can be chosen."""
    with pytest.raises(UsageError, match="debug, info, warning, error"):
        configure("loud")


def test_twisted_logs_the_same_way() -> None:
    """Errors that Twisted reports arrive as one line each, also those from before the bridge; loading stays lazy."""
    code = """if True:
        import sys
        from pushmirror import logs
        logs.configure()
        assert "twisted" not in sys.modules
        from twisted.logger import Logger
        from twisted.python.failure import Failure
        Logger().error("early {name}", name="bird")
        logs.bridge_twisted()
        logs.bridge_twisted()
        try:
            raise ValueError("kept\\nback")
        except ValueError:
            Logger().failure("unhandled", Failure())
        Logger().info("chatter")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert [LINE.sub("", line)[:10] for line in lines] == ["early bird", "unhandled "]
    assert "ValueError: kept | back" in lines[1]


def test_a_cause_is_let_through_once_a_minute_with_the_count() -> None:
    """The first is let through, the others are counted, and the next line carries the count; causes are apart."""
    now_ms = [1_000]
    throttle = Throttle(lambda: now_ms[0])
    assert [throttle.allow("path") for _ in range(3)] == [0, None, None]
    assert throttle.allow("signature") == 0
    now_ms[0] += 59_999
    assert throttle.allow("path") is None
    now_ms[0] += 1
    assert throttle.allow("path") == 3
    now_ms[0] += 60_000
    assert throttle.allow("path") == 0


def test_a_clock_that_goes_back_does_not_silence_a_cause() -> None:
    """A line is let through rather than suppressed for as long as the clock went back."""
    now_ms = [10_000_000]
    throttle = Throttle(lambda: now_ms[0])
    throttle.allow("path")
    now_ms[0] = 0
    assert throttle.allow("path") == 0


def test_causes_are_bounded() -> None:
    """Causes beyond the limit share one; places of old ones are given to new ones."""
    now_ms = [0]
    throttle = Throttle(lambda: now_ms[0], max_causes=2)
    assert [throttle.allow(cause) for cause in ("a", "b", "c", "d", "e")] == [0, 0, 0, None, None]
    now_ms[0] = 60_000
    assert [throttle.allow(cause) for cause in ("x", "y")] == [0, 0]
