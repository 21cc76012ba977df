"""The shape of the package as rules: who may import whom, and who may have effects. Each returns what breaks it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.imports import Module, is_within, loaded_by, module_of

LAYERS = {
    "errors": 0,
    "core": 1,
    "logs": 2,  # below the rest of the edge: everything that meets the world may have to say so
    "notify": 3,
    "key_files": 2,
    "keys": 3,
    "curve": 3,
    "nodes": 3,
    "settings": 3,
    "bus": 3,
    "control": 3,
    "http": 3,
    "publisher": 4,
    "subscriber": 4,
    "monitor": 4,
    "cli": 5,
    "__main__": 6,
}
SIDEWAYS = {
    ("settings", "keys"),  # settings hold public keys
    ("settings", "curve"),
    ("nodes", "keys"),  # so does the file of the nodes
    ("nodes", "curve"),
    ("http", "settings"),  # the form of an address
    ("http", "keys"),  # requests of nodes that are to be let in are signed
    ("http", "nodes"),
    ("bus", "curve"),  # who may listen is known by keys in files
    ("bus", "nodes"),
}

PURE = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "collections",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "hmac",
    "heapq",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "posixpath",
    "re",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
    "urllib.parse",
}
EFFECTS = {"open", "input", "print", "eval", "exec", "compile", "__import__", "breakpoint"}

REACTOR = "twisted.internet.reactor"
SLOW = ("twisted", "treq", "fedmsg", "pydantic")
CLIENT_COMMANDS = {
    "main": SLOW,
    "publish": SLOW,
    "run": SLOW,
    "status": SLOW,
    "operate": SLOW,
    "tail": SLOW,
    "keygen": SLOW,
    "rotate_key": SLOW,
    "check_config": ("twisted", "treq", "fedmsg"),
    "explain": ("twisted", "treq", "fedmsg"),
}

PROCESS_MODULES = ("subprocess", "pty", "multiprocessing", "asyncio.subprocess", "_posixsubprocess")
PROCESS_CALLS = ("system", "popen", "fork", "forkpty", "posix_spawn", "exec", "spawn")
MAY_START_PROCESSES = (
    "cli.demo",
    "bus.outlet_process",  # this program itself, which needs descriptors and memory limits rather than output
    "subscriber.installed_rsync",  # one question at the start, for whose end sh would wait a tenth of a second
    "publisher.detect.run_process",  # the operator's own rsync keeps its terminal, files and signals
)


def wrong_arrows(modules: dict[str, Module]) -> list[str]:
    """Return the imports that do not point from a layer to a lower one, or to the same part of the package."""
    return sorted(
        f"{where(module, imported.line)}: {part_of(module.name)} must not import {target}"
        for module in modules.values()
        for imported in module.imports
        if (target := module_of(imported.name, modules)) and not allowed(part_of(module.name), part_of(target))
    )


def allowed(source: str, target: str) -> bool:
    """Return whether one part of the package may import from another; the package itself (the version) is free."""
    if target in {"", source}:
        return True
    if source not in LAYERS or target not in LAYERS:
        return False
    return LAYERS[source] > LAYERS[target] or (source, target) in SIDEWAYS


def parts_without_a_layer(modules: dict[str, Module]) -> list[str]:
    """Return the parts of the package that nobody has given a place."""
    return sorted({part for name in modules if (part := part_of(name)) and part not in LAYERS})


def effects_in_core(modules: dict[str, Module]) -> list[str]:
    """Return the imports and calls by which a module of ``core`` could do more than decide."""
    found = []
    for module in modules.values():
        if part_of(module.name) != "core":
            continue
        for imported in module.imports:
            if module_of(imported.name, modules) is None and not is_within(imported.name, *PURE):
                found.append(f"{where(module, imported.line)}: core must not import {imported.name}")
        for call in calls(module.tree):
            if isinstance(call.func, ast.Name) and call.func.id in EFFECTS:
                found.append(f"{where(module, call.lineno)}: core must not call {call.func.id}()")
    return sorted(found)


def misplaced_reactors(modules: dict[str, Module]) -> list[str]:
    """Return the imports of the reactor outside the command line, or while a module is being imported."""
    return sorted(
        f"{where(module, imported.line)}: the reactor is an argument; only cli imports it, inside a function"
        for module in modules.values()
        for imported in module.imports
        if is_within(imported.name, REACTOR)
        and not imported.for_types
        and (imported.at_top or part_of(module.name) != "cli")
    )


def slow_client_commands(modules: dict[str, Module]) -> list[str]:
    """Return what client commands load on import that would make them start slowly, with the way it comes in."""
    found = []
    for command, unwanted in CLIENT_COMMANDS.items():
        name = f"{package_of(modules)}.cli.{command}"
        loaded = loaded_by(name, modules) if name in modules else {}
        for imported, chain in loaded.items():
            if is_within(imported, *unwanted):
                found.append(f"cli.{command} loads {imported} ({' -> '.join(chain)})")
    return sorted(found)


def stray_processes(modules: dict[str, Module]) -> list[str]:
    """Return where a process could be started other than through ``sh``, or through a shell."""
    found = []
    for module in modules.values():
        may_start = is_within(module.name, *(f"{package_of(modules)}.{name}" for name in MAY_START_PROCESSES))
        if not may_start:
            found += [
                f"{where(module, imported.line)}: must not import {imported.name}"
                for imported in module.imports
                if is_within(imported.name, *PROCESS_MODULES) or starts_process(imported.name)
            ]
            found += [
                f"{where(module, call.lineno)}: must not call {ast.unparse(call.func)}()"
                for call in calls(module.tree)
                if starts_process(ast.unparse(call.func))
            ]
        found += [
            f"{where(module, call.lineno)}: no command goes through a shell"
            for call in calls(module.tree)
            if any(keyword.arg == "shell" for keyword in call.keywords)
        ]
    return sorted(found)


def starts_process(name: str) -> bool:
    """Return whether a dotted name is one of the functions of `os` that start a program."""
    module, _, function = name.rpartition(".")
    return module == "os" and function.startswith(PROCESS_CALLS)


def packages_with_code(modules: dict[str, Module]) -> list[str]:
    """Return the packages whose ``__init__`` holds more than a docstring (the top one may hold the version)."""
    return sorted(
        where(module, statement.lineno)
        for module in modules.values()
        if module.path.name == "__init__.py" and part_of(module.name)
        for statement in module.tree.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    )


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield every call in a syntax tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def part_of(name: str) -> str:
    """Return the part of the package a module belongs to (``core`` for ``pushmirror.core.wire``; empty: the top)."""
    return f"{name}.".split(".")[1]


def package_of(modules: dict[str, Module]) -> str:
    """Return the package's own name."""
    return next(iter(modules)).split(".")[0]


def where(module: Module, line: int) -> str:
    return f"{module.name}:{line}"
