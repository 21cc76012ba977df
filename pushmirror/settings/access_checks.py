"""Checks of what settings say about who may listen and ask: that it goes together, and that the keys are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pushmirror.core.curve import parse_line
from pushmirror.curve import load_curve_pair
from pushmirror.errors import KeyFileError
from pushmirror.settings.document import Document, KeyPath, format_key

_LOOPBACK = ("http://127.", "http://[::1]:", "http://localhost:")
_MAX_PUBLIC_BYTES = 4096


def check_access(document: Document, group: KeyPath, curve: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield what ``private: true`` in `group` lacks: key and message. `curve` is where the key of the bus stands."""
    private = (*group, "private")
    if document.value(private) is not True:
        return
    if document.value((*group, "authorized_nodes")) is None:
        yield private, "needs authorized_nodes: the file of those who may listen and ask"
    if document.value(curve) is None:
        yield private, f"needs {format_key(curve)}: without encryption nobody on the bus can be told from others"
    service = document.value((*group, "service"))
    is_open = isinstance(service, str) and service.startswith("http://") and not service.startswith(_LOOPBACK)
    if is_open and not document.value((*group, "trusted_proxies")):
        yield (
            (*group, "service"),
            "is private, and everybody on the way could read it: write https://, or let it listen on loopback with a "
            "proxy before it, or name the proxy in trusted_proxies",
        )


def look_at_curve(path: Path) -> str | None:
    """Check that a secret CURVE key is there, readable by its owner alone, with its public half."""
    try:
        pair = load_curve_pair(path)
    except KeyFileError as error:
        return str(error).removeprefix(f"{path}: ")
    public = path.with_name(f"{path.name}.pub")
    try:
        with public.open(encoding="utf-8") as stream:
            fits = parse_line(stream.read(_MAX_PUBLIC_BYTES)) == pair.public
    except (OSError, ValueError):
        fits = False
    if not fits:
        return f"{public} is missing, or not the public half of this key: write into it the line {pair.public.line}"
    return None
