"""Checks of what a subscriber's file says about relays, on the plain data."""

from __future__ import annotations

from collections.abc import Iterator

from pushmirror.settings.document import Document, KeyPath, format_key
from pushmirror.settings.https_checks import check_https

Problem = tuple[KeyPath, str]

_HIDES = "hides a part of the tree, so that it cannot be handed on: take the tree out of relay.trees, or remove this"


def check_relays(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with the relays that are listened to, and with the one that this node is."""
    for upstream in document.names("upstreams"):
        yield from _check_upstream(document, ("upstreams", upstream))
    yield from _check_endpoints(document)
    if document.value(("relay",)) is not None:
        yield from _check_own(document)


def relay_keys(document: Document, upstream: KeyPath) -> tuple[KeyPath, ...]:
    """Return the key of each relay of an upstream."""
    relays = document.value((*upstream, "relays"))
    return tuple((*upstream, "relays", name) for name in relays) if isinstance(relays, dict) else ()


def _check_upstream(document: Document, upstream: KeyPath) -> Iterator[Problem]:
    group = document.value(upstream)
    if not isinstance(group, dict):
        return
    relays = relay_keys(document, upstream)
    for key in ("publish", "service"):
        if key in group and group[key] is None:
            yield (*upstream, key), "has no value: write one, or remove the key"
        elif key not in group and not relays:
            yield (*upstream, key), "is missing: only an upstream with relays can do without it"
    for relay in relays:
        if relay[-1] == document.value(("name",)):
            yield relay, "is this node itself: name other nodes here"


def _check_endpoints(document: Document) -> Iterator[Problem]:
    """Whoever is listened to twice would be believed to be two."""
    seen: dict[str, KeyPath] = {}
    for upstream in document.names("upstreams"):
        key: KeyPath = ("upstreams", upstream)
        for place in (key, *relay_keys(document, key)):
            endpoint = document.value((*place, "publish"))
            if not isinstance(endpoint, str):
                continue
            first = seen.setdefault(endpoint, place)
            if first != place and (len(first) > 2 or len(place) > 2):
                yield (*place, "publish"), f"is the same as that of {format_key(first)}: each relay has one of its own"


def _check_own(document: Document) -> Iterator[Problem]:
    yield from check_https(document, ("relay",))
    chosen, trees = document.value(("relay", "trees")), document.names("trees")
    names = [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else list(trees)
    for name in names:
        if name not in trees:
            yield ("relay", "trees"), f"there is no tree {name}: trees has {', '.join(trees) or 'none'}"
    if isinstance(chosen, list):
        # Without a list the operator wants whatever can be relayed; the log and status say what is not.
        for name in names:
            for key in ("include", "exclude"):
                if document.value(("trees", name, key)):
                    yield ("trees", name, key), _HIDES
