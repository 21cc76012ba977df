"""The names that an operator chooses: they become parts of topics, URLs and file names, so few characters will do."""

from __future__ import annotations

import re

from pushmirror.core.messages import NAME

# Prefix and environment together leave room for the rest of a topic.
MAX_PREFIX_CHARACTERS = 128

NAME_PATTERN = NAME.pattern
WORD_PATTERN = r"[A-Za-z0-9_-]{1,64}"
PREFIX_PATTERN = rf"{WORD_PATTERN}(\.{WORD_PATTERN})*"
PROGRAM_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"

_WORD = re.compile(WORD_PATTERN)
_PROGRAM = re.compile(PROGRAM_PATTERN)


def check_name(text: str) -> str:
    """Return `text` if it can name a tree, a publisher or a node. Raises ValueError, which says what can."""
    if NAME.fullmatch(text):
        return text
    raise ValueError(
        f"{shorten(text)} cannot be a name: use letters, digits, '.', '_' and '-', at most 128 characters, "
        "and none of '.' and '-' first"
    )


def check_topic_prefix(text: str) -> str:
    """Return `text` if it is words joined by dots, as in ``org.example``. Raises ValueError otherwise."""
    if len(text) <= MAX_PREFIX_CHARACTERS and all(_WORD.fullmatch(word) for word in text.split(".")):
        return text
    raise ValueError(
        f"{shorten(text)} cannot begin a topic: write words of letters, digits, '_' and '-' joined by dots, "
        "such as org.example"
    )


def check_environment(text: str) -> str:
    """Return `text` if it is one word, as in ``prod``. Raises ValueError otherwise."""
    if _WORD.fullmatch(text):
        return text
    raise ValueError(
        f"{shorten(text)} cannot be an environment: write one word of letters, digits, '_' and '-', such as prod"
    )


def check_program(text: str) -> str:
    """Return `text` if it is the bare name of a program; an absolute path is for `paths.check_absolute`."""
    if _PROGRAM.fullmatch(text):
        return text
    raise ValueError(f"{shorten(text)} is not a program: write its name or its absolute path, without options")


def shorten(value: object) -> str:
    """Return `value` as one quoted piece of a line, of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
