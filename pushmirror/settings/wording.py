"""What pydantic finds, in words for the operator of a mirror."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pushmirror.settings.document import KeyPath
from pushmirror.settings.known import Pattern, find_pattern, siblings
from pushmirror.settings.names import shorten

_KEY_MARK = "[key]"
_GROUP = "must be a group of keys: `key: value` lines, indented below it"
_NUMBER = "must be a whole number without quotes or unit"

_WORDING: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda context: "must be true or false",
    "int_type": lambda context: _NUMBER,
    "int_from_float": lambda context: _NUMBER,
    "string_type": lambda context: "must be text: put it into quotes",
    "tuple_type": lambda context: "must be a list: [first, second], or lines that begin with a dash",
    "model_type": lambda context: _GROUP,
    "dict_type": lambda context: _GROUP,
    "mapping_type": lambda context: _GROUP,
    "too_short": lambda context: "must have at least one entry",
    "too_long": lambda context: f"must have at most {context['max_length']} entries",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "value_error": lambda context: str(context["error"]),
}


def list_problems(error: ValidationError, known: Mapping[Pattern, FieldInfo]) -> list[tuple[KeyPath, str]]:
    """Return each problem of `error`: the path of the key, and what to do about it."""
    every = error.errors(include_url=False)
    return [_describe(details, known) for details in every if not _follows_from_another(details, every)]


def _follows_from_another(details: ErrorDetails, every: list[ErrorDetails]) -> bool:
    """Whether a list or group is too short only since what is in it could not be taken."""
    above = details["loc"]
    return details["type"] == "too_short" and any(
        len(other["loc"]) > len(above) and other["loc"][: len(above)] == above for other in every
    )


def _describe(details: ErrorDetails, known: Mapping[Pattern, FieldInfo]) -> tuple[KeyPath, str]:
    path = details["loc"][:-1] if details["loc"][-1:] == (_KEY_MARK,) else details["loc"]
    pattern = find_pattern(path, known)
    if details["type"] == "extra_forbidden":
        return path, describe_unknown(str(path[-1]), siblings(pattern, known))
    if details["type"] == "missing":
        return path, f"is missing: {known[pattern].description}"
    if details["input"] is None:
        return path, "has no value: write one, or remove the key"
    wording = _WORDING.get(details["type"])
    return path, wording(details.get("ctx", {})) if wording else f"cannot be {shorten(details['input'])}"


def describe_unknown(key: str, allowed: tuple[str, ...]) -> str:
    """Return what to say about a key that is not one of `allowed`: the nearest of them, or all."""
    nearest = get_close_matches(key, allowed, n=1, cutoff=0.5)
    if nearest:
        return f"is not a known key: did you mean {nearest[0]}?"
    return f"is not a known key: the keys here are {', '.join(allowed)}"
