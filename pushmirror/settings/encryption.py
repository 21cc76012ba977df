"""Public keys of the bus's encryption (CURVE) in settings files."""

from __future__ import annotations

from typing import Annotated

from pushmirror.core.curve import WORD, parse_key
from pushmirror.settings.common import text_parsed_by


def _check_key(text: str) -> str:
    return parse_key(text).text


PublicCurveKey = Annotated[str, text_parsed_by(_check_key, rf"({WORD} )?\S{{40}}( \S+)?")]
"""A line of a .pub file, or the key alone; its value is the key alone, 40 characters."""
