"""Public keys in settings files: lines as in a key file, checked when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from pushmirror.errors import KeyFileError
from pushmirror.settings.common import list_to_tuple, text_parsed_by

if TYPE_CHECKING:
    from pushmirror.keys import PublicKey


def _check_public_line(line: str) -> str:
    from pushmirror.keys import parse_public_line  # cryptography is loaded only where a key is read

    try:
        parse_public_line(line)
    except KeyFileError as error:
        raise ValueError(str(error)) from error
    return line


def read_public_lines(lines: tuple[str, ...]) -> tuple[PublicKey, ...]:
    """Return the keys in lines that were checked."""
    from pushmirror.keys import parse_public_line

    return tuple(parse_public_line(line) for line in lines)


PublicLine = Annotated[str, text_parsed_by(_check_public_line, "ssh-ed25519 .+")]
PublicLines = Annotated[tuple[PublicLine, ...], Field(min_length=1), BeforeValidator(list_to_tuple)]
