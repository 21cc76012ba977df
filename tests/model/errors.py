"""What the mirrors of the model log as errors: a fault each, wherever an exception was caught."""

from __future__ import annotations

import logging

from tests.model.tier1 import Killed


class Errors(logging.Handler):
    """Adds what the subscribers log as errors to `found`, unless that they were killed is all that is wrong.

    A jump that nobody can confirm is no fault of theirs either: clocks are set here, and services are away.
    """

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found
        self._logger = logging.getLogger("pushmirror")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        expected = Killed.__name__ in text or "--leap" in text
        if record.name.startswith("pushmirror.subscriber.") and not expected:
            self._found.append(text)

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
        super().close()
