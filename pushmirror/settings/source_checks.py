"""Checks of the sources of the trees against each other and against the upstreams, on the plain data."""

from __future__ import annotations

from collections.abc import Iterator

from pushmirror.settings.document import Document, KeyPath, format_key

_MISSING = "is missing: the rsync URL of the tree, or several under sources"


def source_keys(document: Document, tree: str) -> tuple[KeyPath, ...]:
    """Return the key of each source in the list of `tree`."""
    sources = document.value(("trees", tree, "sources"))
    return tuple(("trees", tree, "sources", index) for index in range(len(sources) if isinstance(sources, list) else 0))


def check_sources(document: Document) -> Iterator[tuple[KeyPath, str]]:
    """Yield what does not go together in the sources of each tree: key and message."""
    for tree in document.names("trees"):
        yield from _check_choice(document, tree)
        yield from _check_alike(document, tree)
        for key in source_keys(document, tree):
            yield from _check_relay(document, tree, key)
        yield from _check_markers(document, tree)


def _check_choice(document: Document, tree: str) -> Iterator[tuple[KeyPath, str]]:
    group = document.value(("trees", tree))
    if not isinstance(group, dict):
        return
    if "source" not in group and not group.get("sources"):
        yield ("trees", tree, "source"), _MISSING
    elif "source" in group and group["source"] is None:
        yield ("trees", tree, "source"), "has no value: write one, or remove the key"
    elif "source" in group and group.get("sources"):
        yield ("trees", tree, "sources"), "stands beside source: write every source here, and remove source"


def _url(document: Document, key: KeyPath) -> object:
    """Return the URL of the source at `key`, which may be written alone."""
    value = document.value(key)
    return value.get("url") if isinstance(value, dict) else value


def _check_alike(document: Document, tree: str) -> Iterator[tuple[KeyPath, str]]:
    seen: dict[str, KeyPath] = {}
    for key in source_keys(document, tree):
        url = _url(document, key)
        if not isinstance(url, str):
            continue
        first = seen.setdefault(url.rstrip("/"), key)
        if first != key:
            yield key, f"is the same as {format_key(first)}: name each source once"


def _check_relay(document: Document, tree: str, key: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    relay, upstream = document.value((*key, "relay")), document.value(("trees", tree, "upstream"))
    if relay is None:
        return
    if document.value((*key, "marker")) is not None:
        yield (*key, "marker"), "stands beside relay: a relay says itself what it has; remove one of them"
    if not isinstance(relay, str) or not isinstance(upstream, str) or upstream not in document.names("upstreams"):
        return
    relays = document.value(("upstreams", upstream, "relays"))
    known = tuple(relays) if isinstance(relays, dict) else ()
    if relay not in known:
        there_are = ", ".join(known) if known else "none"
        yield (*key, "relay"), f"there is no relay of this name: upstreams.{upstream}.relays has {there_are}"


def _check_markers(document: Document, tree: str) -> Iterator[tuple[KeyPath, str]]:
    keys = source_keys(document, tree)
    has_origin = any(
        document.value((*key, "relay")) is None and document.value((*key, "marker")) is None for key in keys
    )
    for key in keys:
        if document.value((*key, "marker")) is not None and not has_origin:
            yield (*key, "marker"), "has nothing to be compared with: add the origin's URL to the sources"
