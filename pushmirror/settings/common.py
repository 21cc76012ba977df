"""What the models of both files are made of: the kinds of values, and the base that makes a model strict and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from pushmirror.core.messages import MAX_TREES
from pushmirror.core.patterns import parse_pattern
from pushmirror.core.profiles import PROFILES, parse_metadata_pattern
from pushmirror.settings import endpoints, names, paths, units

PLAIN_PROFILE = "plain"
MAX_PATTERNS = 1000

T = TypeVar("T")


class SettingsModel(BaseModel):
    """Frozen, takes no unknown key, converts nothing: what YAML calls a number is no text and no boolean."""

    # Built when a file is read: those of the other role never are.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


@dataclass(frozen=True, eq=False)
class Parsed:
    """Marks a field whose YAML text becomes another value by `parse`, which raises ValueError; `schema` is what an
    editor is told about the text."""

    parse: Callable[[Any], object]
    schema: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        return dict(self.schema)


def text_parsed_by(parse: Callable[[str], object], pattern: str | None = None) -> Parsed:
    """Return a mark for text that `parse` checks or converts; `pattern` is what a whole valid text matches."""

    def parse_text(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if value is None:
            raise ValueError("has no value: write one, or remove the key")
        raise ValueError(f"must be text: put {names.shorten(value)} into quotes if that is what is meant")

    return Parsed(parse_text, {"type": "string"} | ({"pattern": f"^{pattern}$"} if pattern else {}))


def duration_between(least: str, most: str) -> Parsed:
    """Return a mark for a duration in milliseconds, written with a unit, within limits."""
    parse = _limited(units.parse_duration_ms, least, most)
    return Parsed(parse, _quantity_schema(units.MILLISECONDS))


def size_between(least: str, most: str) -> Parsed:
    """Return a mark for a size in bytes, written with a unit, within limits."""
    parse = _limited(units.parse_size_bytes, least, most)
    return Parsed(parse, _quantity_schema(units.BYTES))


def duration_field(key: str, default: str, description: str) -> Any:
    """Return the field of a duration whose default is written as an operator would."""
    return Field(
        alias=key,
        default=units.parse_duration_ms(default),
        description=description,
        json_schema_extra={"default": default},
    )


def size_field(key: str, default: str, description: str) -> Any:
    """Return the field of a size whose default is written as an operator would."""
    return Field(
        alias=key,
        default=units.parse_size_bytes(default),
        description=description,
        json_schema_extra={"default": default},
    )


def check_profile(text: str) -> str:
    """Return `text` if it is the name of a profile. Raises ValueError, which says what there is."""
    if text in PROFILES:
        return text
    raise ValueError(f"{names.shorten(text)} is not a profile: use one of {', '.join(PROFILES)}")


def check_pattern(text: str) -> str:
    """Return `text` if it is a pattern for a filter. Raises ValueError, which says what to write instead."""
    return parse_pattern(text).text


def check_metadata_pattern(text: str) -> str:
    """Return `text` if it can tell metadata. Raises ValueError, which says what to write instead."""
    return parse_metadata_pattern(text).text


def list_to_tuple(value: object) -> object:
    """Return a list of YAML as a tuple, and anything else as it is, for the model to refuse."""
    return tuple(value) if isinstance(value, list) else value


def _limited(parse: Callable[[object], int], least: str, most: str) -> Callable[[object], int]:
    smallest, largest = parse(least), parse(most)

    def parse_limited(value: object) -> int:
        if value is None:
            raise ValueError("has no value: write one, or remove the key")
        number = parse(value)
        if not smallest <= number <= largest:
            raise ValueError(f"{value} is out of range: write {least} to {most}")
        return number

    return parse_limited


def _quantity_schema(factors: Mapping[str, int]) -> dict[str, object]:
    return {"anyOf": [{"type": "string", "pattern": f"^[0-9]+ ?({'|'.join(factors)})$"}, {"const": 0}]}


_NAME_SCHEMA = {"type": "string", "pattern": f"^{names.NAME_PATTERN}$"}
Name = Annotated[str, AfterValidator(names.check_name), WithJsonSchema(_NAME_SCHEMA)]
TopicPrefix = Annotated[str, text_parsed_by(names.check_topic_prefix, names.PREFIX_PATTERN)]
Environment = Annotated[str, text_parsed_by(names.check_environment, names.WORD_PATTERN)]
NodeName = Annotated[str, text_parsed_by(names.check_name, names.NAME_PATTERN)]
AbsolutePath = Annotated[Path, text_parsed_by(paths.check_absolute, "/.*")]
TreeFolder = Annotated[Path, text_parsed_by(paths.check_tree_path, "/.+")]
SocketPath = Annotated[Path, text_parsed_by(paths.check_socket_path, "/.+")]
ListeningEndpoint = Annotated[str, text_parsed_by(endpoints.check_listening_endpoint, "tcp://.+:[0-9]+")]
RemoteEndpoint = Annotated[str, text_parsed_by(endpoints.check_remote_endpoint, "tcp://.+:[0-9]+")]
ListeningService = Annotated[str, text_parsed_by(endpoints.check_listening_service, "https?://.+:[0-9]+/?")]
RemoteService = Annotated[str, text_parsed_by(endpoints.check_remote_service, "https?://.+")]
SourceUrl = Annotated[str, text_parsed_by(endpoints.check_source, "rsync://.+")]
ProfileName = Annotated[str, text_parsed_by(check_profile, f"({'|'.join(PROFILES)})")]
PathPattern = Annotated[str, text_parsed_by(check_pattern)]
MetadataPattern = Annotated[str, text_parsed_by(check_metadata_pattern)]
PathPatterns = Annotated[tuple[PathPattern, ...], Field(max_length=MAX_PATTERNS), BeforeValidator(list_to_tuple)]
MetadataPatterns = Annotated[
    tuple[MetadataPattern, ...], Field(max_length=MAX_PATTERNS), BeforeValidator(list_to_tuple)
]
# By name, in the order of the file, at least one; no more than a heartbeat has room for.
Named = Annotated[Mapping[Name, T], Field(min_length=1, max_length=MAX_TREES), AfterValidator(MappingProxyType)]
