"""What to listen to, and whom to believe there: from a settings file of either daemon, or from bare endpoints.

Reads the few keys that are needed without the models of the settings, which take long to import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from pushmirror.bus.encryption import ClientCurve, make_client_curve
from pushmirror.core.curve import parse_key, parse_line
from pushmirror.core.messages import topic
from pushmirror.curve import CurvePair, load_curve_pair
from pushmirror.errors import KeyFileError, UsageError
from pushmirror.keys import PublicKey, parse_public_line, read_authorized_nodes
from pushmirror.monitor.hearing import Voice
from pushmirror.settings.document import Document, KeyPath, read_document
from pushmirror.settings.endpoints import check_listening_endpoint, check_remote_endpoint
from pushmirror.settings.names import check_environment, check_name, check_topic_prefix
from pushmirror.settings.paths import check_absolute
from pushmirror.settings.roles import PUBLISHER, find_role

_MAX_PUBLIC_FILE_BYTES = 4096
_ANY_HOST = {"tcp://*:": "tcp://127.0.0.1:", "tcp://0.0.0.0:": "tcp://127.0.0.1:", "tcp://[::]:": "tcp://[::1]:"}


@dataclass(frozen=True)
class Feed:
    """One endpoint on a bus; `topic_start` is what is subscribed to, `curve` how an encrypted one is spoken with."""

    endpoint: str
    topic_start: str = ""
    voice: Voice | None = None
    curve: ClientCurve | None = None


@dataclass(frozen=True)
class Feeds:
    """All that is followed; `notes` tell what cannot be verified and why."""

    feeds: tuple[Feed, ...]
    notes: tuple[str, ...] = ()


def from_endpoints(endpoints: Iterable[str], curve: str | None = None) -> Feeds:
    """Return feeds of which nothing can be verified; `curve` is the public key of those that are encrypted.

    Raises UsageError for an endpoint or a key that is none.
    """
    try:
        key = make_client_curve(None if curve is None else parse_key(curve).text, None)
        feeds = tuple(Feed(check_remote_endpoint(endpoint), curve=key) for endpoint in endpoints)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Feeds(feeds, ("without --config no key is known: nothing that follows is verified",))


def from_settings(path: Path) -> Feeds:
    """Return what the daemon with the settings file `path` sends or hears. Raises SettingsError with every fault."""
    document = read_document(path)
    publishes = find_role(document) == PUBLISHER
    try:
        if document.faults:
            raise ValueError("a faulty file is for the models")
        return _of_publisher(document) if publishes else _of_subscriber(document)
    except (ValueError, KeyFileError) as error:
        # Imported here, and only for a file that is wrong: it takes a tenth of a second, and tells every fault.
        from pushmirror.settings.load import load_any

        load_any(path)
        raise UsageError(f"{path}: {error}") from error


def _of_publisher(document: Document) -> Feeds:
    name = check_name(_text(document, ("name",)))
    endpoint = check_listening_endpoint(_text(document, ("bus", "publish")))
    start = _topic_start(document, ("bus",))
    notes: list[str] = []
    key = _read_own_key(document, notes, "announcements and heartbeats are not verified")
    voice = Voice(name, start, () if key is None else (key, *_read_old_keys(document)), _read_nodes(document, notes))
    curve = _curve_of_publisher(document, notes)
    return Feeds((Feed(_near(endpoint), start, voice, curve),), tuple(notes))


def _of_subscriber(document: Document) -> Feeds:
    node = check_name(_text(document, ("name",)))
    notes = ["the keys of other nodes are known to the publisher alone: their reports are not verified here"]
    own = _read_own_key(document, notes, "the reports of this node are not verified")
    nodes = {} if own is None else {node: own}
    curve_pair = _read_own_curve(document, ("curve",), notes)
    feeds = []
    for name in document.names("upstreams"):
        start = _topic_start(document, ("upstreams", name))
        relays = _relay_keys(document, name)
        keys = {str(relay[-1]): _read_keys(document, relay) for relay in relays}
        believed = _read_keys(document, ("upstreams", name))
        voice = Voice(check_name(name), start, believed, nodes, keys, _read_tree_keys(document, name))
        origin: KeyPath = ("upstreams", name)
        places = relays if relays and document.value((*origin, "publish")) is None else (origin, *relays)
        feeds += [
            Feed(
                check_remote_endpoint(_text(document, (*place, "publish"))),
                start,
                voice,
                _curve_of_subscriber(document, place, curve_pair),
            )
            for place in places
        ]
    if not feeds:
        raise ValueError("there are no upstreams")
    return Feeds(tuple(feeds), tuple(notes))


def _text(document: Document, key: KeyPath) -> str:
    value = document.value(key)
    if isinstance(value, str):
        return value
    raise ValueError("not text")


def _topic_start(document: Document, group: KeyPath) -> str:
    prefix = check_topic_prefix(_text(document, (*group, "topic_prefix")))
    return topic(prefix, check_environment(_text(document, (*group, "environment"))), "")


def _relay_keys(document: Document, upstream: str) -> tuple[KeyPath, ...]:
    relays = document.value(("upstreams", upstream, "relays"))
    if relays is not None and not isinstance(relays, dict):
        raise ValueError("relays is no group")
    return tuple(("upstreams", upstream, "relays", check_name(relay)) for relay in relays or {})


def _read_keys(document: Document, place: KeyPath) -> tuple[PublicKey, ...]:
    lines = document.value((*place, "keys"))
    if not isinstance(lines, list) or not lines:
        raise ValueError("no keys")
    return tuple(parse_public_line(line) for line in map(str, lines))


def _read_tree_keys(document: Document, upstream: str) -> dict[str, tuple[PublicKey, ...]]:
    """Return the keys that single trees of an upstream have of their own."""
    places: list[KeyPath] = [("trees", name) for name in document.names("trees")]
    own = [place for place in places if document.value((*place, "keys")) is not None]
    return {
        str(place[-1]): _read_keys(document, place) for place in own if document.value((*place, "upstream")) == upstream
    }


def _read_old_keys(document: Document) -> tuple[PublicKey, ...]:
    """Return the keys of before that still lie beside the publisher's own: they may sign as well, for an overlap."""
    key, found = check_absolute(_text(document, ("key",))), []
    for path in sorted(key.parent.glob(f"{escape(key.name)}.old-*.pub")):
        with contextlib.suppress(OSError, UnicodeDecodeError, KeyFileError), path.open(encoding="utf-8") as file:
            found.append(parse_public_line(file.read(_MAX_PUBLIC_FILE_BYTES)))
    return tuple(found)


def _read_own_key(document: Document, notes: list[str], otherwise: str) -> PublicKey | None:
    """Return the public half of the daemon's own key, or None with a note that says what is missing without it."""
    key = check_absolute(_text(document, ("key",)))
    public = key.with_name(f"{key.name}.pub")
    try:
        with public.open(encoding="utf-8") as file:
            return parse_public_line(file.read(_MAX_PUBLIC_FILE_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
    except KeyFileError as error:
        reason = str(error)
    notes.append(f"{public} cannot be read ({reason}): {otherwise}")
    return None


def _read_own_curve(document: Document, key: KeyPath, notes: list[str]) -> CurvePair | None:
    """Return the daemon's own pair, or None, with a note when there is one that cannot be read."""
    if document.value(key) is None:
        return None
    try:
        return load_curve_pair(check_absolute(_text(document, key)))
    except KeyFileError as error:
        notes.append(f"{error}: a private bus will not let anything be heard")
        return None


def _curve_of_publisher(document: Document, notes: list[str]) -> ClientCurve | None:
    """Return how to listen to the publisher's own bus: with its own pair, which is always let in."""
    key: KeyPath = ("bus", "curve")
    pair = _read_own_curve(document, key, notes)
    if pair is not None or document.value(key) is None:
        return make_client_curve(None if pair is None else pair.public.text, pair)
    path = check_absolute(_text(document, key))
    try:
        line = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}.pub cannot be read ({error.strerror})") from error
    return make_client_curve(parse_line(line).text, None)


def _curve_of_subscriber(document: Document, place: KeyPath, pair: CurvePair | None) -> ClientCurve | None:
    if document.value((*place, "curve")) is None:
        return None
    return make_client_curve(parse_key(_text(document, (*place, "curve"))).text, pair)


def _read_nodes(document: Document, notes: list[str]) -> dict[str, PublicKey]:
    if document.value(("authorized_nodes",)) is None:
        notes.append("the settings name no authorized_nodes: no reports are passed on, and none would be verified")
        return {}
    try:
        return read_authorized_nodes(check_absolute(_text(document, ("authorized_nodes",))))
    except KeyFileError as error:
        notes.append(f"reports are not verified: {error}")
        return {}


def _near(endpoint: str) -> str:
    """Return where a publisher that listens on `endpoint` is reached from its own machine."""
    for anywhere, here in _ANY_HOST.items():
        if endpoint.startswith(anywhere):
            return here + endpoint.removeprefix(anywhere)
    return endpoint
