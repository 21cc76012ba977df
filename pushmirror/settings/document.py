"""A YAML file as plain data, and the line on which each key stands.

The file is walked as events first, so that nothing in it can recurse deeply, expand or construct objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.reader import Reader

from pushmirror.errors import Fault, SettingsError
from pushmirror.settings.names import shorten

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 12

KeyPath = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Document:
    """What a file says (`data`), where (`lines`, counting from 1, by the path of the key), and what was wrong with
    its form (`faults`) although it could be read."""

    file: str
    data: Mapping[str, object]
    lines: Mapping[KeyPath, int]
    faults: tuple[Fault, ...] = ()

    def line_of(self, path: KeyPath) -> int:
        """Return the line of the key at `path`, or of the nearest one above it; 0 when there is none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def fault(self, path: KeyPath, message: str) -> Fault:
        """Return a fault at the key `path`."""
        return Fault(self.file, self.line_of(path), format_key(path), message)

    def value(self, path: KeyPath) -> object:
        """Return what stands at `path`, None if nothing does."""
        found: object = self.data
        for part in path:
            if isinstance(found, list):
                found = dict(enumerate(found))
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def names(self, key: str) -> tuple[str, ...]:
        """Return the keys of the group `key`, none if it is not a group."""
        group = self.data.get(key)
        return tuple(group) if isinstance(group, Mapping) else ()


def format_key(path: KeyPath) -> str:
    """Return a path of keys as people write it: ``upstreams.main.keys[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            printable = part if part.isprintable() else repr(part)
            text += f".{printable}" if text else printable
    return text


def read_document(path: Path) -> Document:
    """Return the content of the settings file `path`. Raises SettingsError when it cannot be read or is not YAML."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _refusal(file, 0, f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _refusal(file, 0, f"is larger than {MAX_FILE_BYTES} bytes: this is not a settings file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(file, content.count(b"\n", 0, error.start) + 1, "is not UTF-8 text here") from error
    return parse_document(text, file)


def parse_document(text: str, file: str) -> Document:
    """Return what `text` says. Raises SettingsError when it is not YAML, or not made of keys and values."""
    strange = Reader.NON_PRINTABLE.search(text)
    if strange is not None:
        line = text.count("\n", 0, strange.start()) + 1
        raise _refusal(file, line, f"holds the character {strange.group()!r}, which cannot stand in a settings file")
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        line = _line_of_error(error)
        raise _refusal(file, line, _describe_error(error, text.splitlines()[line - 1 : line])) from error
    if node is None:
        raise _refusal(file, 0, "is empty: start from one of the samples")
    builder = _Builder(file)
    data = builder.build(node, ())
    if not isinstance(data, dict):
        raise _refusal(file, _line_of(node.start_mark), "must be made of `key: value` lines")
    return Document(file, data, builder.lines, tuple(builder.faults))


def _check_events(text: str, file: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = _line_of(event.start_mark)
        if getattr(event, "anchor", None) is not None:
            raise _refusal(file, line, "anchors and aliases (`&name`, `*name`) are not taken here: write values out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _refusal(file, line, "is nested too deeply: no setting is")


class _Builder:
    """Turns nodes into plain data, noting lines and faults on the way."""

    def __init__(self, file: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.faults: list[Fault] = []
        self._file = file
        self._scalars = SafeConstructor()

    def build(self, node: yaml.Node, path: KeyPath) -> object:
        if isinstance(node, yaml.ScalarNode):
            return self._build_scalar(node, path)
        if node.tag not in _PLAIN_TAGS:
            self._add_fault(node, path, f"the tag {shorten(node.tag)} is not taken here")
        if isinstance(node, yaml.MappingNode):
            return self._build_mapping(node, path)
        values = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.lines[here] = _line_of(item.start_mark)
            values.append(self.build(item, here))
        return values

    def _build_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._build_key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            if key in values:
                self._add_fault(key_node, here, f"is here twice: it stands on line {self.lines[here]} already")
                continue
            self.lines[here] = _line_of(key_node.start_mark)
            values[key] = self.build(value_node, here)
        return values

    def _build_key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._add_fault(node, path, "a key must be a word, not a group or a list")
            return None
        if node.tag != "tag:yaml.org,2002:str":
            self._add_fault(node, path, f"YAML does not read the key {node.value} as text: put it into quotes")
            return None
        return str(node.value)

    def _build_scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        try:
            return self._scalars.construct_object(node)
        except ConstructorError:
            self._add_fault(node, path, f"the tag {shorten(node.tag)} is not taken here")
        except (ValueError, OverflowError, KeyError, IndexError, AttributeError):  # PyYAML's own slips among them
            self._add_fault(node, path, f"{shorten(node.value)} cannot be read: if it is text, put it into quotes")
        return None

    def _add_fault(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.faults.append(Fault(self._file, _line_of(node.start_mark), format_key(path), message))


def _line_of_error(error: yaml.YAMLError) -> int:
    return _line_of(getattr(error, "problem_mark", None) or getattr(error, "context_mark", None))


def _line_of(mark: Any) -> int:
    """Return the line of a mark of PyYAML, which counts from 0; 0 when there is no mark."""
    return int(mark.line) + 1 if mark is not None else 0


def _describe_error(error: yaml.YAMLError, lines: list[str]) -> str:
    problem = getattr(error, "problem", None) or "it cannot be read"
    if any("\t" in line for line in lines):
        problem += "; indent with spaces, not with tabs"
    return f"is not valid YAML: {problem}"


def _refusal(file: str, line: int, message: str) -> SettingsError:
    return SettingsError((Fault(file, line, "", message),))
