"""Puts frames together to messages of exactly two, and counts the messages that are not like that."""

from __future__ import annotations


class FrameAssembler:
    """Takes one frame after the other. Of a message that has too many, nothing is kept, however many they are."""

    def __init__(self) -> None:
        self.dropped_messages = 0
        self._topic: bytes | None = None
        self._overlong = False

    def add(self, frame: bytes, more: bool) -> tuple[bytes, bytes] | None:
        """The whole message, as topic and body, when `frame` completes one; None otherwise.

        `more` tells whether another frame of the same message follows.
        """
        if more:
            if self._topic is None and not self._overlong:
                self._topic = frame
            else:
                self._topic, self._overlong = None, True
            return None
        topic = self._topic
        self.reset()
        if topic is None:
            self.dropped_messages += 1
            return None
        return topic, frame

    def reset(self) -> None:
        """Forget a message of which the rest will not come."""
        self._topic, self._overlong = None, False
