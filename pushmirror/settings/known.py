"""The keys that a settings file may hold, read from its model: one table for messages, samples and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from pushmirror.settings.common import SettingsModel
from pushmirror.settings.document import KeyPath

# Stands in a pattern where the operator chooses the name.
ANY_NAME = "*"

Pattern = tuple[str, ...]


def list_keys(model: type[SettingsModel]) -> dict[Pattern, FieldInfo]:
    """Return every key of `model` and of the models in it: ``("trees", "*", "path")`` and its field."""
    return dict(_walk(model, ()))


def find_pattern(path: KeyPath, known: Mapping[Pattern, FieldInfo]) -> Pattern:
    """Return `path` with the operator's names and the numbers of list items taken out."""
    pattern: Pattern = ()
    for part in path:
        if isinstance(part, int):
            continue
        named_here = any(key[: len(pattern) + 1] == (*pattern, ANY_NAME) for key in known)
        pattern = (*pattern, ANY_NAME if named_here else part)
    return pattern


def siblings(pattern: Pattern, known: Mapping[Pattern, FieldInfo]) -> tuple[str, ...]:
    """Return the keys that may stand where the last key of `pattern` stands."""
    return tuple(key[-1] for key in known if key[:-1] == pattern[:-1] and key[-1] != ANY_NAME)


def _walk(model: type[SettingsModel], above: Pattern) -> Iterator[tuple[Pattern, FieldInfo]]:
    for name, field in model.model_fields.items():
        here = (*above, field.alias or name)
        yield here, field
        inner = _find_model(field.annotation)
        if inner is not None:
            yield from _walk(inner, (*here, ANY_NAME) if _is_mapping(field.annotation) else here)


def _find_model(annotation: Any) -> type[SettingsModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, SettingsModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _find_model(part)) is not None), None)


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return True
    return any(_is_mapping(part) for part in get_args(annotation))
