"""What an rsyncd.conf hides of a tree from everybody who reads it: such paths count as missing for subscribers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pushmirror.core.filters import Rules
from pushmirror.core.patterns import Pattern, parse_pattern

_HIDING = ("includefrom", "include", "excludefrom", "exclude")
_UNREAD_RULES = "filter"
_MODULE = re.compile(r"\[(.+)\]")
_RULE_SIGNS = ("-", "+", "!")
_OTHER_FILES = ("&include", "&merge")


@dataclass(frozen=True)
class Module:
    """One module: its name, and its parameters without the spaces and capitals that rsync ignores in their names."""

    name: str
    parameters: Mapping[str, str]

    @property
    def path(self) -> str:
        """The folder that it offers; empty when it names none."""
        return self.parameters.get("path", "")


@dataclass(frozen=True)
class Configuration:
    """The modules of a file, with the parameters that stand before them as defaults; `others`: files it draws in."""

    modules: tuple[Module, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hiding:
    """What a module hides, as far as it can be told, and what cannot (`unread`, each in words)."""

    rules: Rules
    unread: tuple[str, ...] = ()


def parse_configuration(text: str) -> Configuration:
    """Return what an rsyncd.conf says. Lines that mean nothing are passed over, as whoever runs it has seen to them."""
    defaults: dict[str, str] = {}
    sections: list[tuple[str, dict[str, str]]] = []
    others: list[str] = []
    for line in _join_lines(text):
        heading = _MODULE.fullmatch(line)
        if heading:
            sections.append((heading[1].strip(), {}))
        elif line.startswith(_OTHER_FILES):
            others.append(line)
        elif "=" in line:
            name, _, value = line.partition("=")
            current = sections[-1][1] if sections and sections[-1][0] != "global" else defaults
            current["".join(name.split()).lower()] = value.strip()
    modules = tuple(Module(name, defaults | found) for name, found in sections if name != "global")
    return Configuration(modules, tuple(others))


def _join_lines(text: str) -> Iterable[str]:
    joined = re.sub(r"\\\r?\n", "", text)
    lines = (line.strip() for line in joined.splitlines())
    return (line for line in lines if line and line[0] not in "#;")


def choose_module(modules: Iterable[Module], root: str, named: str | None) -> Module | None:
    """Return the module by which the tree at `root` is read: the one `named`, or the nearest that holds it."""
    holding = [module for module in modules if _holds(module.path, root)]
    by_name = [module for module in holding if module.name == named]
    return max(by_name or holding, key=lambda module: len(module.path.rstrip("/")), default=None)


def _holds(path: str, root: str) -> bool:
    folder = path.rstrip("/")
    return bool(path) and (root == folder or root.startswith(folder + "/"))


def place_in(module: Module, root: str) -> str:
    """Return where in the module the tree at `root` is; empty when it is the whole module."""
    return root[len(module.path.rstrip("/")) :].strip("/")


@dataclass
class _Patterns:
    include: list[Pattern] = field(default_factory=list)
    exclude: list[Pattern] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add(self, parameter: str, word: str) -> None:
        try:
            if word in _RULE_SIGNS:
                raise ValueError(f"{word!r} makes what follows a rule of another kind")
            pattern = parse_pattern(word)
        except ValueError as error:
            self.unread.append(f"{parameter}: {error}")
            return
        (self.include if parameter.startswith("include") else self.exclude).append(pattern)


def read_hiding(module: Module, listed: Mapping[str, Iterable[str]]) -> Hiding:
    """Return what a module hides. `listed` are the lines of the files that ``include from`` and ``exclude from`` name,
    by the parameter without its space; nothing is known of a file that is not in it.

    The daemon takes them in the order filter, include from, include, exclude from, exclude, and the first that matches
    decides.
    """
    found = _Patterns()
    if module.parameters.get(_UNREAD_RULES):
        found.unread.append("filter: rules of this kind are not read here")
    for parameter in _HIDING:
        words = (
            listed.get(parameter, ()) if parameter.endswith("from") else module.parameters.get(parameter, "").split()
        )
        for word in words:
            found.add(parameter, word)
    return Hiding(Rules(tuple(found.include), tuple(found.exclude)), tuple(found.unread))
