"""Compares a tree with the configuration of the rsync daemon that serves it: what that hides nobody can mirror."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.core.filters import Rules
from pushmirror.core.rsyncd_conf import (
    Configuration,
    Module,
    choose_module,
    parse_configuration,
    place_in,
    read_hiding,
)
from pushmirror.core.source import parse_source
from pushmirror.errors import PushmirrorError

DEFAULT_PATH = Path("/etc/rsyncd.conf")
MAX_FILE_BYTES = 4 * 1024 * 1024
_LISTS = ("includefrom", "excludefrom")


@dataclass(frozen=True)
class RsyncdView:
    """How the rsync daemon sees a tree: `rules` over paths in its module, where the tree lies at `prefix` (empty, or
    ending in a slash), and `notes` for the operator."""

    rules: Rules = field(default_factory=Rules)
    prefix: bytes = b""
    notes: tuple[str, ...] = ()


def compare_with_rsyncd(conf: Path, root: Path, url: str | None) -> RsyncdView:
    """Return how the daemon that reads `conf` sees the tree at `root`; `url` tells which module is meant."""
    try:
        configuration = parse_configuration(_read(conf))
    except OSError as error:
        return RsyncdView(notes=(f"{conf}: cannot be read ({error.strerror}), so what it hides is not known",))
    top = os.path.realpath(root)
    module = choose_module(_resolve(configuration), top, _module_name(url))
    if module is None:
        return RsyncdView(notes=tuple(_tell_others(conf, configuration)))
    listed, unreadable = _read_lists(conf, module)
    hiding = read_hiding(module, listed)
    place = os.fsencode(place_in(module, top))
    notes = [*_tell_others(conf, configuration), *unreadable, *_tell(conf, module, hiding.rules, hiding.unread, place)]
    return RsyncdView(hiding.rules, place + b"/" if place else b"", tuple(notes))


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        return os.fsdecode(stream.read(MAX_FILE_BYTES))


def _resolve(configuration: Configuration) -> Iterator[Module]:
    for module in configuration.modules:
        if module.path.startswith("/"):
            yield Module(module.name, {**module.parameters, "path": os.path.realpath(module.path)})


def _module_name(url: str | None) -> str | None:
    try:
        return None if url is None else parse_source(url).root.rstrip("/").rpartition("/")[2]
    except (PushmirrorError, ValueError):
        return None


def _read_lists(conf: Path, module: Module) -> tuple[dict[str, list[str]], list[str]]:
    listed: dict[str, list[str]] = {}
    notes = []
    for parameter in _LISTS:
        name = module.parameters.get(parameter)
        if not name:
            continue
        try:
            lines = (line.strip() for line in _read(Path(name)).splitlines())
            listed[parameter] = [line for line in lines if line and line[0] not in "#;"]
        except OSError as error:
            notes.append(f"{conf}: {name}: cannot be read ({error.strerror}), so what it hides is not known")
    return listed, notes


def _tell_others(conf: Path, configuration: Configuration) -> Iterator[str]:
    for line in configuration.others:
        yield f"{conf}: what `{line}` draws in is not read here"


def _tell(conf: Path, module: Module, rules: Rules, unread: tuple[str, ...], place: bytes) -> Iterator[str]:
    where = f"{conf}: [{module.name}]"
    if place and rules.hides(place, True):
        yield f"{where} hides the whole tree: no subscriber can read it; take the pattern out, or name another module"
    elif rules:
        patterns = " ".join(pattern.text for pattern in rules.exclude)
        yield f"{where} hides {patterns}: for subscribers such paths are missing, so they are not announced"
    for told in unread:
        yield (
            f"{where} {told}; what it hides is missing for subscribers and would be announced all the same: write it "
            "as `exclude` in that module, or under detect: exclude of the tree"
        )
