"""What the HTTP service answers with, and what it needs of whoever knows the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pushmirror.http.questions import Question, Refusal

JSON = "application/json"
LINES_OF_JSON = "application/x-ndjson"

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
"""May be kept, and used again when the service says that it is still true; the next update makes it incomplete."""
NEVER = "no-store"


@dataclass(frozen=True)
class Answer:
    """An answer with content. `chunks` make up the body; `length_bytes` is known for all but streamed lines."""

    content_type: str
    cache_control: str
    chunks: Iterator[bytes]
    length_bytes: int | None = None


@dataclass(frozen=True)
class NoContent:
    """What was sent was taken; there is nothing to tell."""


class Answerer(Protocol):
    """Whoever knows the answers."""

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        """Return the answer to a question; `body` is what was sent with it. Raises StateError when that fails."""
