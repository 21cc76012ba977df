"""The imports of a Python package, read from its source with `ast`; nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported name: `name` is absolute and dotted, ``a.b.c`` also for ``from a.b import c``.

    `at_top` tells whether it is imported together with the module (not only inside a function), `for_types` whether
    it is only read by the type checker.
    """

    name: str
    line: int
    at_top: bool
    for_types: bool


@dataclass(frozen=True)
class Module:
    """One source file of a package: its dotted name, path, syntax tree and imports."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]


def read_package(folder: Path) -> dict[str, Module]:
    """Return every module of the package in `folder`, by dotted name; a package's own name is its ``__init__``."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        package = name if is_package else name.rpartition(".")[0]
        modules[name] = Module(name, path, tree, tuple(find_imports(tree, package)))
    return modules


def find_imports(tree: ast.Module, package: str) -> Iterator[Import]:
    """Yield every import in a module that lies in `package` (relative imports are resolved against it)."""
    waiting: list[tuple[ast.AST, bool, bool]] = [(tree, True, False)]
    while waiting:
        node, at_top, for_types = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_top, for_types)
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, package)
            for alias in node.names:
                yield Import(f"{source}.{alias.name}", node.lineno, at_top, for_types)
        inside_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typed = node.body if isinstance(node, ast.If) and is_type_checking(node.test) else []
        for child in ast.iter_child_nodes(node):
            waiting.append((child, at_top and not inside_function, for_types or child in typed))


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the dotted name that a ``from ... import`` imports from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def is_type_checking(test: ast.expr) -> bool:
    """Return whether a condition is ``TYPE_CHECKING`` or ``typing.TYPE_CHECKING``."""
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def module_of(name: str, modules: dict[str, Module]) -> str | None:
    """Return the module of the package that an imported name is or belongs to; None when it is foreign."""
    while name:
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return None


def loaded_by(name: str, modules: dict[str, Module]) -> dict[str, tuple[str, ...]]:
    """Return every name that is imported along with module `name`, each with the chain of modules that leads to it.

    The package's own modules are followed, those above each of them included, as Python does; foreign names end a
    chain. Imports inside functions and those for the type checker alone do not count.
    """
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(name, ())]
    while waiting:
        current, chain = waiting.pop()
        for parent in parents(current):
            if parent in modules and parent not in found:
                found[parent] = (*chain, current)
                waiting.append((parent, (*chain, current)))
        for imported in modules[current].imports:
            if not imported.at_top or imported.for_types:
                continue
            target = module_of(imported.name, modules) or imported.name
            if target in found or target == name:
                continue
            found[target] = (*chain, current)
            if target in modules:
                waiting.append((target, (*chain, current)))
    return found


def parents(name: str) -> Iterator[str]:
    """Yield the packages that a dotted name lies in, the nearest first."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def is_within(name: str, *tops: str) -> bool:
    """Return whether a dotted name is one of `tops` or lies in one."""
    return any(name == top or name.startswith(f"{top}.") for top in tops)
